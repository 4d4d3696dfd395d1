//! The checks, one function a row. Each plays a visitor who knows nothing but an address.

use super::World;
use super::pattern::{Pattern, hex};
use super::table::Moved;
use super::upstream::DIGEST;
use super::visitor::{self, Drip, exchange, get, text};
use crate::BoxError;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use sha2::{Digest, Sha256};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

pub(crate) type Outcome = Result<Moved, BoxError>;

/// The length of the large bodies, in octets.
const LARGE: u64 = 100 * 1024 * 1024;

/// The length of what a stalled visitor asked for, far more than all buffers on the way, and of what each visitor beside
/// it gets, in octets.
const STALLED: u64 = 32 * 1024 * 1024;
const BESIDE: u64 = 1024 * 1024;

/// How many visitors are busy beside the stalled one.
const BUSY: u64 = 50;

/// How many requests are under way at once.
const CROWD: u64 = 1000;

/// HTTP, told apart by host; and the fields that a gateway adds can't be forged by a visitor.
pub(crate) async fn http_by_host(world: &World) -> Outcome {
    let mut request = get(&world.host(World::HTTP), "/headers")?;
    request.headers_mut().insert("x-forwarded-for", "203.0.113.7".parse()?);
    request.headers_mut().insert("forwarded", "for=203.0.113.7".parse()?);
    let response = exchange(world.http().await?, request).await?;
    expect_status(&response, StatusCode::OK)?;
    let fields: Vec<(String, String)> = serde_json::from_str(&text(response).await?)?;
    let all = |name: &str| -> Vec<&str> {
        fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str()).collect()
    };
    expect(all("x-forwarded-for") == ["127.0.0.1"], "X-Forwarded-For is the visitor's address alone")?;
    expect(all("x-forwarded-proto") == ["http"], "X-Forwarded-Proto is the visitor's scheme")?;
    expect(all("forwarded").len() == 1, "there is one Forwarded")?;
    expect(!all("forwarded").iter().any(|value| value.contains("203.0.113.7")), "Forwarded is ours")?;
    Ok(moved(fields.len()))
}

/// HTTPS whose TLS the gateway ends.
pub(crate) async fn https_at_the_edge(world: &World) -> Outcome {
    let host = world.host(World::HTTP);
    let io = visitor::tls(world.https().await?, &host, world.anchor()).await?;
    let body = text(exchange(io, get(&host, "/")?).await?).await?;
    expect(body.starts_with("hello"), "the upstream answers")?;
    Ok(moved(body.len()))
}

/// HTTPS whose TLS only the agent ends: the certificate that the visitor sees is the one in the agent's store.
pub(crate) async fn https_passthrough(world: &World) -> Outcome {
    let host = world.host(World::TLS);
    let io = visitor::tls(world.https().await?, &host, world.anchor()).await?;
    let seen = io.get_ref().1.peer_certificates().and_then(<[_]>::first).cloned().ok_or("no certificate")?;
    expect(seen == world.agent_certificate()?, "the certificate seen is the agent's")?;
    let body = text(exchange(io, get(&host, "/")?).await?).await?;
    expect(body.starts_with("hello"), "the upstream answers")?;
    Ok(moved(body.len()))
}

/// A ClientHello that arrives an octet at a time.
pub(crate) async fn dripped_client_hello(world: &World) -> Outcome {
    let mut total = 0;
    for name in [World::HTTP, World::TLS] {
        let host = world.host(name);
        let io = visitor::tls(Drip::new(world.https().await?, 2_000), &host, world.anchor()).await?;
        total += text(exchange(io, get(&host, "/")?).await?).await?.len();
    }
    Ok(moved(total))
}

/// WebSocket through HTTP/1.1's upgrade.
pub(crate) async fn websocket(world: &World) -> Outcome {
    let url = format!("ws://{}/ws", world.host(World::HTTP));
    let (mut socket, _) = tokio_tungstenite::client_async(url, world.http().await?).await?;
    let mut total = 0;
    for size in [0, 1, 125, 126, 65_535, 65_536, 300_000] {
        let sent = Message::binary(vec![7; size]);
        socket.send(sent.clone()).await?;
        let got = socket.next().await.ok_or("the socket ended")??;
        expect(got == sent, "the echo is equal")?;
        total += 2 * size;
    }
    socket.close(None).await?;
    Ok(moved(total))
}

/// Server-sent events: the upstream sends each only after the one before was seen, so a buffered one is never seen.
pub(crate) async fn server_sent_events(world: &World) -> Outcome {
    let host = world.host(World::HTTP);
    let mut events = exchange(world.http().await?, get(&host, "/events")?).await?.into_body();
    let mut total = 0;
    for number in 1..=5 {
        let next = Request::post("/events/next").header(header::HOST, &host).body(Empty::<Bytes>::new())?;
        expect_status(&exchange(world.http().await?, next).await?, StatusCode::NO_CONTENT)?;
        let frame = events.frame().await.ok_or("the stream ended")??;
        let data = frame.into_data().map_err(|_| "trailers instead of an event")?;
        expect(data == format!("id: {number}\ndata: event {number}\n\n"), "events arrive one by one")?;
        total += data.len();
    }
    Ok(moved(total))
}

/// TCP on a public port: octets both ways, and an answer that comes only after the visitor's end was carried.
pub(crate) async fn tcp_echo(world: &World) -> Outcome {
    echo_at(world.tcp()).await
}

pub(super) async fn echo_at(address: SocketAddr) -> Outcome {
    let mut socket = TcpStream::connect(address).await?;
    let sent = vec![42; 1_000_000];
    let (mut reader, mut writer) = socket.split();
    let write = async {
        writer.write_all(&sent).await?;
        writer.shutdown().await
    };
    let mut got = Vec::new();
    let (written, read) = tokio::join!(write, reader.read_to_end(&mut got));
    written?;
    read?;
    expect(got.get(..sent.len()) == Some(&sent[..]), "the echo is equal")?;
    expect(&got[sent.len()..] == b"1000000 octets", "what follows the half-close arrives")?;
    Ok(moved(sent.len() + got.len()))
}

/// A large upload: the upstream's digest is the visitor's.
pub(crate) async fn large_upload(world: &World) -> Outcome {
    let request =
        Request::put("/blob").header(header::HOST, world.host(World::HTTP)).body(Pattern::new(LARGE))?;
    let response = exchange(world.http().await?, request).await?;
    expect_status(&response, StatusCode::OK)?;
    let digest = response.headers().get(DIGEST).ok_or("no digest")?;
    expect(*digest == Pattern::digest(LARGE), "the digests agree")?;
    Ok(Moved { bytes: LARGE })
}

/// A large download: the visitor's digest is the upstream's.
pub(crate) async fn large_download(world: &World) -> Outcome {
    let request = get(&world.host(World::HTTP), &format!("/blob/{LARGE}"))?;
    read_pattern(exchange(world.http().await?, request).await?.into_body(), LARGE).await
}

/// A thousand requests at once, each with an answer of its own.
pub(crate) async fn crowd(world: &World) -> Outcome {
    let mut visitors = JoinSet::new();
    for number in 0..CROWD {
        let (address, host) = (world.http_address(), world.host(World::HTTP));
        visitors.spawn(async move {
            let io = visitor::connect(address).await?;
            let body = text(exchange(io, get(&host, &format!("/number/{number}"))?).await?).await?;
            expect(body == number.to_string(), "each visitor gets its own answer")?;
            Ok::<_, BoxError>(body.len())
        });
    }
    let mut total = 0;
    while let Some(visitor) = visitors.join_next().await {
        total += visitor??;
    }
    Ok(moved(total))
}

/// A visitor that asks for much and doesn't read it, on the same session as fifty that do: they get all of theirs while it
/// gets nothing, and then it gets all of its own.
pub(crate) async fn stalled_visitor(world: &World) -> Outcome {
    let host = world.host(World::HTTP);
    let stalled = exchange(world.http().await?, get(&host, &format!("/blob/{STALLED}"))?).await?;
    let mut visitors = JoinSet::new();
    for _ in 0..BUSY {
        let (address, request) = (world.http_address(), get(&host, &format!("/blob/{BESIDE}"))?);
        visitors.spawn(async move {
            let response = exchange(visitor::connect(address).await?, request).await?;
            read_pattern(response.into_body(), BESIDE).await
        });
    }
    while let Some(visitor) = visitors.join_next().await {
        visitor??;
    }
    read_pattern(stalled.into_body(), STALLED).await?;
    Ok(Moved { bytes: BUSY * BESIDE + STALLED })
}

/// An upstream that isn't there: 502 with an envelope that says so.
pub(crate) async fn upstream_down(world: &World) -> Outcome {
    refusal(world, &world.host(World::DOWN), StatusCode::BAD_GATEWAY, "UPSTREAM_UNREACHABLE").await
}

/// A host that leads nowhere: 404 with an envelope that says so.
pub(crate) async fn unknown_host(world: &World) -> Outcome {
    refusal(world, &world.host("nobody-here"), StatusCode::NOT_FOUND, "NOT_FOUND").await
}

/// An agent that dies without a word: its visitors are refused, its name waits for it, and traffic goes on when it
/// is back.
pub(crate) async fn agent_restart(world: &mut World) -> Outcome {
    let host = world.host(World::HTTP);
    world.kill_agent();
    loop {
        let response = exchange(world.http().await?, get(&host, "/")?).await?;
        if response.status() == StatusCode::BAD_GATEWAY {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    refusal(world, &host, StatusCode::BAD_GATEWAY, "TUNNEL_OFFLINE").await?;
    world.restart_agent().await?;
    let response = exchange(world.http().await?, get(&host, "/")?).await?;
    expect_status(&response, StatusCode::OK)?;
    Ok(moved(text(response).await?.len()))
}

/// Reads a body to its end and compares its digest with that of a pattern.
async fn read_pattern(mut body: Incoming, length: u64) -> Outcome {
    let mut hash = Sha256::new();
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref() {
            hash.update(data);
        }
    }
    expect(hex(&hash.finalize()) == Pattern::digest(length), "the digests agree")?;
    Ok(Moved { bytes: length })
}

async fn refusal(world: &World, host: &str, status: StatusCode, code: &str) -> Outcome {
    let response = exchange(world.http().await?, get(host, "/")?).await?;
    expect_status(&response, status)?;
    let body = text(response).await?;
    let envelope: serde_json::Value = serde_json::from_str(&body)?;
    expect(envelope["error"] == code, "the envelope names the code")?;
    for field in ["message", "next_action", "request_id"] {
        expect(envelope[field].is_string(), "the envelope is whole")?;
    }
    Ok(moved(body.len()))
}

/// So many octets.
pub(crate) fn moved(octets: usize) -> Moved {
    Moved { bytes: u64::try_from(octets).unwrap_or(u64::MAX) }
}

/// Fails unless the rule holds.
pub(crate) fn expect(holds: bool, rule: &str) -> Result<(), BoxError> {
    if holds { Ok(()) } else { Err(format!("does not hold: {rule}").into()) }
}

/// Fails unless that is the status.
pub(crate) fn expect_status(response: &Response<Incoming>, status: StatusCode) -> Result<(), BoxError> {
    let got = response.status();
    if got == status { Ok(()) } else { Err(format!("status {got} instead of {status}").into()) }
}
