//! What only HTTP/2 does, and peers that break its rules or ours.

use crate::pair::{End, On, Pair};
use crate::streams::pattern;
use adit_mux::carrier::h2::start;
use adit_mux::{Abuse, Allowance, Config, Role, SessionEnd, StreamError, Timeout, Violation};
use adit_wire_proto::CloseCode;
use adit_wire_proto::frame::{Decoder, Feature, Frame, Hello, Version, VersionRange};
use bytes::{Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::ext::Protocol;
use h2::{Reason, RecvStream, SendStream};
use http::{Method, Request, Response};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

/// The gateway that the test plays: a bare HTTP/2 client.
struct Gateway {
    requests: SendRequest<Bytes>,
    control: SendStream<Bytes>,
    heard: RecvStream,
    decoder: Decoder,
    input: BytesMut,
}

fn request(path: &str, head: Option<&str>) -> Request<()> {
    let mut request =
        Request::builder().method(Method::CONNECT).uri(format!("https://adit{path}")).body(()).unwrap();
    request.extensions_mut().insert(Protocol::from_static("adit"));
    if let Some(head) = head {
        request.headers_mut().insert("adit-head", head.parse().unwrap());
    }
    request
}

fn octets(frame: &Frame) -> Bytes {
    let mut octets = BytesMut::new();
    frame.encode(&mut octets);
    octets.freeze()
}

async fn client(io: DuplexStream) -> SendRequest<Bytes> {
    let (requests, connection) = h2::client::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let mut requests = requests;
    while !requests.is_extended_connect_protocol_enabled() {
        requests = requests.ready().await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    requests.ready().await.unwrap()
}

impl Gateway {
    /// An agent's session, and a gateway that has said HELLO.
    async fn new(config: Config) -> (End, Self) {
        let mut hello = Hello::new();
        hello.max_streams = 100;
        Self::saying(hello, config).await
    }

    async fn saying(hello: Hello, config: Config) -> (End, Self) {
        let (near, far) = duplex(1024 * 1024);
        let agent = End::new(start(Role::Dialler, near, &config));
        let mut requests = client(far).await;
        let (answer, mut control) = requests.send_request(request("/control", None), false).unwrap();
        control.send_data(octets(&Frame::Hello(hello)), false).unwrap();
        let heard = answer.await.unwrap().into_body();
        (agent, Self { requests, control, heard, decoder: Decoder::new(), input: BytesMut::new() })
    }

    fn ask(&mut self, path: &str, head: Option<&str>) -> (ResponseFuture, SendStream<Bytes>) {
        self.requests.send_request(request(path, head), false).unwrap()
    }

    fn say(&mut self, frame: &Frame) {
        self.control.send_data(octets(frame), false).unwrap();
    }

    /// The agent's next frame.
    async fn frame(&mut self) -> Frame {
        loop {
            if let Some(frame) = self.decoder.decode(&mut self.input).unwrap() {
                return frame;
            }
            let octets = self.heard.data().await.expect("a frame").unwrap();
            self.heard.flow_control().release_capacity(octets.len()).unwrap();
            self.input.extend_from_slice(&octets);
        }
    }

    /// The agent's frames up to its CLOSE; the code of that.
    async fn close_code(&mut self) -> CloseCode {
        loop {
            if let Frame::Close { code, .. } = self.frame().await {
                return code;
            }
        }
    }
}

fn status(answer: &Result<Response<RecvStream>, h2::Error>) -> Option<Reason> {
    answer.as_ref().err().and_then(h2::Error::reason)
}

#[tokio::test]
async fn a_peer_that_follows_the_specification_is_understood() {
    let (mut agent, mut gateway) = Gateway::new(Config::default()).await;
    // "head" in base64url; octets follow before the answer.
    let (answer, mut send) = gateway.ask("/stream", Some("aGVhZA"));
    send.send_data(Bytes::from_static(b"request"), true).unwrap();
    let incoming = agent.incoming.accept().await.unwrap();
    assert_eq!(incoming.head().as_ref(), b"head");
    let mut stream = incoming.accept();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "request");
    stream.write_all(b"answer").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut body = answer.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap().as_ref(), b"answer");
    assert!(body.data().await.is_none());

    // A stream of the agent, on an invitation.
    let (answer, _send) = gateway.ask("/invitation", None);
    let mut ours = agent.session.open("mine").await.unwrap();
    ours.write_all(b"x").await.unwrap();
    ours.reset(CloseCode::UPSTREAM_RESET);
    let answer = answer.await.unwrap();
    assert_eq!(answer.headers()["adit-head"], "bWluZQ");
    let mut body = answer.into_body();
    while let Some(octets) = body.data().await {
        octets.unwrap();
    }
    assert_eq!(body.trailers().await.unwrap().unwrap()["adit-reset"], "34");
}

#[tokio::test]
async fn m24_requests_that_are_none_of_ours_are_reset_and_the_session_lives() {
    let (mut agent, mut gateway) = Gateway::new(Config::default()).await;
    let (answer, _s) = gateway.ask("/elsewhere", None);
    assert_eq!(status(&answer.await), Some(Reason::PROTOCOL_ERROR));
    let plain = Request::builder().method(Method::POST).uri("https://adit/stream").body(()).unwrap();
    let (answer, _s) = gateway.requests.send_request(plain, false).unwrap();
    assert_eq!(status(&answer.await), Some(Reason::PROTOCOL_ERROR));
    let mut other = request("/stream", Some("aGVhZA"));
    other.extensions_mut().insert(Protocol::from_static("websocket"));
    let (answer, _s) = gateway.requests.send_request(other, false).unwrap();
    assert_eq!(status(&answer.await), Some(Reason::PROTOCOL_ERROR));
    for head in [None, Some("no base64!")] {
        let (answer, _s) = gateway.ask("/stream", head);
        assert_eq!(status(&answer.await), Some(Reason::from(0xad17_0002)));
    }
    let (_answer, _s) = gateway.ask("/stream", Some(""));
    assert_eq!(agent.incoming.accept().await.unwrap().head().len(), 0);
}

#[tokio::test]
async fn m03_a_stream_over_the_limit_is_refused_and_the_others_go_on() {
    let (mut agent, mut gateway) = Gateway::new(Config::default().max_peer_streams(2)).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(gateway.ask("/stream", Some("")));
    }
    let mut streams = [agent.accept().await, agent.accept().await];
    let (answer, _s) = gateway.ask("/stream", Some(""));
    assert_eq!(status(&answer.await), Some(Reason::from(0xad17_0010)));
    held[1].1.send_data(Bytes::from_static(b"goes on"), true).unwrap();
    let mut text = String::new();
    streams[1].read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "goes on");
}

#[tokio::test]
async fn m04_streams_that_are_opened_and_reset_for_nobody_end_in_enhance_calm() {
    let (agent, mut gateway) = Gateway::new(Config::default()).await;
    let mut asked = 0;
    while agent.session.end().is_none() && asked < 10_000 {
        let asking = gateway.requests.send_request(request("/stream", Some("")), false);
        let Ok((answer, mut send)) = asking else { break };
        // The agent has it, and has done its work for it.
        let _ = answer.await;
        send.send_reset(Reason::CANCEL);
        asked += 1;
    }
    let end = agent.session.closed().await;
    assert_eq!(end.close_code(), CloseCode::ENHANCE_CALM, "{end} after {asked}");
}

#[tokio::test]
async fn m05_requests_that_have_to_be_reset_end_in_enhance_calm() {
    let plain = || Request::builder().method(Method::GET).uri("https://adit/stream").body(()).unwrap();
    let kinds: [&dyn Fn() -> Request<()>; 5] = [
        &|| request("/elsewhere", None),
        &plain,
        &|| request("/stream", None),
        &|| request("/stream", Some("no base64!")),
        &|| request("/invitation", None),
    ];
    for (number, make) in kinds.into_iter().enumerate() {
        let config = Config::default().forced_resets(Allowance::new(100, 0));
        let (agent, gateway) = Gateway::new(config).await;
        let mut held = Vec::new();
        while held.len() < 10_000 && agent.session.end().is_none() {
            let Ok(mut requests) = gateway.requests.clone().ready().await else { break };
            let Ok((answer, send)) = requests.send_request(make(), false) else { break };
            // 64 invitations are kept, and are none to wait for.
            if number < 4 || held.len() >= 64 {
                let _ = answer.await;
            }
            held.push(send);
        }
        let end = SessionEnd::Violation(Violation::Budget { what: Abuse::ForcedResets });
        assert_eq!(agent.session.closed().await, end, "{number}");
        assert!((101..200).contains(&held.len()), "{number}: {}", held.len());
    }
}

#[tokio::test]
async fn m05_invitations_that_the_gateway_gives_up_end_in_enhance_calm() {
    let (agent, mut gateway) = Gateway::new(Config::default().forced_resets(Allowance::new(100, 0))).await;
    for sequence in 1..1_000 {
        let Ok(mut requests) = gateway.requests.clone().ready().await else { break };
        let Ok((_, mut send)) = requests.send_request(request("/invitation", None), false) else { break };
        send.send_reset(Reason::CANCEL);
        let _ = gateway.control.send_data(octets(&Frame::Ping { sequence, ack: false }), false);
        tokio::task::yield_now().await;
    }
    let end = agent.session.closed().await;
    assert_eq!(end.close_code(), CloseCode::ENHANCE_CALM, "{end}");
}

/// An agent that resets every invitation is sent no end of new ones.
#[tokio::test]
async fn m05_an_agent_that_resets_all_invitations_loses_its_session() {
    let (near, far) = duplex(64 * 1024);
    let config = Config::default().forced_resets(Allowance::new(100, 0));
    let gateway = End::new(start(Role::Listener, near, &config));
    let mut builder = h2::server::Builder::new();
    let mut agent = builder.enable_connect_protocol().handshake::<_, Bytes>(far).await.unwrap();
    let (mut invited, mut kept) = (0, Vec::new());
    while let Some(Ok((asked, mut reply))) = agent.accept().await {
        if asked.uri().path() == "/control" {
            let mut send = reply.send_response(Response::new(()), false).unwrap();
            let mut hello = Hello::new();
            hello.max_streams = 1;
            send.send_data(octets(&Frame::Hello(hello)), false).unwrap();
            kept.push((send, asked));
        } else {
            reply.send_reset(Reason::CANCEL);
            invited += 1;
            assert!(invited < 10_000, "without end");
        }
    }
    let end = SessionEnd::Violation(Violation::Budget { what: Abuse::ForcedResets });
    assert_eq!(gateway.session.closed().await, end);
    assert!((101..110).contains(&invited), "{invited}");
}

#[tokio::test]
async fn an_invitation_that_the_gateway_gave_up_costs_no_stream_and_no_room() {
    let (agent, mut gateway) = Gateway::new(Config::default()).await;
    for round in 0..3 {
        let mut given_up = Vec::new();
        for _ in 0..64 {
            given_up.push(gateway.ask("/invitation", None));
            gateway.requests = gateway.requests.clone().ready().await.unwrap();
        }
        for (_, send) in &mut given_up {
            send.send_reset(Reason::CANCEL);
        }
        let (answer, _send) = gateway.ask("/invitation", None);
        gateway.requests = gateway.requests.clone().ready().await.unwrap();
        let mut mine = agent.session.open("mine").await.unwrap();
        mine.shutdown().await.unwrap();
        assert_eq!(answer.await.expect("not refused").headers()["adit-head"], "bWluZQ", "{round}");
    }
}

#[tokio::test(start_paused = true)]
async fn m22_a_peer_that_takes_nothing_of_the_control_stream_is_owed_one_answer_and_then_cut() {
    let mut hello = Hello::new();
    (hello.max_datagram, hello.features) = (16_376, vec![Feature::DATAGRAM]);
    let (agent, mut gateway) = Gateway::saying(hello, Config::default()).await;
    while agent.session.max_datagram() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // These fill the window of the control stream.
    for _ in 0..5 {
        agent.session.send_datagram(1, vec![0; 16_376]).unwrap();
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    for sequence in 1..=200 {
        gateway.say(&Frame::Ping { sequence, ack: false });
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(agent.session.end(), None, "20 s");
    let mut answers = Vec::new();
    while answers.last() != Some(&200) {
        if let Frame::Ping { sequence, ack: true } = gateway.frame().await {
            answers.push(sequence);
        }
    }
    assert!(answers.len() <= 2, "{answers:?}");
    // Once more, and nobody reads for longer than that.
    for _ in 0..5 {
        agent.session.send_datagram(1, vec![0; 16_376]).unwrap();
    }
    let since = tokio::time::Instant::now();
    for sequence in 201..=230 {
        gateway.say(&Frame::Ping { sequence, ack: false });
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let which = Timeout::WriteStall;
    assert_eq!(agent.session.closed().await, SessionEnd::TimedOut { which });
    assert!(since.elapsed() >= Duration::from_secs(30));
}

#[tokio::test]
async fn a_head_over_its_limit_and_stray_frames_end_the_session() {
    let (agent, mut gateway) = Gateway::new(Config::default()).await;
    let long = "A".repeat(5_464);
    let _asked = gateway.ask("/stream", Some(&long));
    assert_eq!(gateway.close_code().await, CloseCode::FRAME_TOO_LARGE);
    agent.session.closed().await;
    for frame in [
        Frame::Hello(Hello::new()),
        Frame::Data { id: 1, payload: Bytes::from_static(b"x"), fin: false },
        Frame::Streams { limit: 9 },
    ] {
        let (agent, mut gateway) = Gateway::new(Config::default()).await;
        gateway.control.send_data(octets(&frame), false).unwrap();
        assert_eq!(gateway.close_code().await, CloseCode::UNEXPECTED);
        agent.session.closed().await;
    }
    let (agent, mut gateway) = Gateway::new(Config::default()).await;
    gateway.control.send_data(Bytes::new(), true).unwrap();
    assert_eq!(agent.session.closed().await.close_code(), CloseCode::UNEXPECTED, "it never ends");
}

#[tokio::test]
async fn a_stream_before_the_control_stream_ends_the_session() {
    let (near, far) = duplex(64 * 1024);
    let agent = End::new(start(Role::Dialler, near, &Config::default()));
    let mut requests = client(far).await;
    let _asked = requests.send_request(request("/stream", Some("")), false).unwrap();
    assert_eq!(agent.session.closed().await.close_code(), CloseCode::UNEXPECTED);
}

#[tokio::test]
async fn m12_unread_single_octets_cost_octets_and_no_other_stream() {
    let mut pair = Pair::new(On::H2).await;
    let (mut stalled, mut unread) = pair.stream().await;
    // One frame each: every one is on its way before the next is written.
    for _ in 0..2_000 {
        stalled.write_all(b"x").await.unwrap();
        tokio::task::yield_now().await;
    }
    stalled.shutdown().await.unwrap();
    let (mut ours, mut theirs) = pair.stream().await;
    ours.write_all(&pattern(100_000)).await.unwrap();
    let mut block = vec![0; 100_000];
    theirs.read_exact(&mut block).await.unwrap();
    assert!(block == pattern(100_000));
    let mut all = Vec::new();
    unread.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, [b'x'; 2_000]);
}

/// The third row of section 0.1 of the notes: a bare `h2` with its defaults dies after 129 of them.
#[tokio::test]
async fn m11_twenty_thousand_single_octet_frames_beside_a_stalled_reader_leave_the_session_alive() {
    let (mut agent, mut gateway) = Gateway::new(Config::default()).await;
    let (_answer, mut send) = gateway.ask("/stream", Some(""));
    let mut unread = agent.accept().await;
    for _ in 0..20_000 {
        send.send_data(Bytes::from_static(b"x"), false).unwrap();
    }
    send.send_data(Bytes::new(), true).unwrap();
    let (_answer, mut other) = gateway.ask("/stream", Some(""));
    other.send_data(Bytes::from_static(b"alive"), true).unwrap();
    let mut text = String::new();
    agent.accept().await.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "alive");
    let mut all = Vec::new();
    unread.read_to_end(&mut all).await.unwrap();
    assert_eq!(all.len(), 20_000);
    assert_eq!(agent.session.end(), None);
}

#[tokio::test]
async fn m11_empty_frames_without_an_end_end_the_session() {
    let (mut agent, mut gateway) = Gateway::new(Config::default()).await;
    let (_answer, mut send) = gateway.ask("/stream", Some(""));
    let _stream = agent.accept().await;
    for _ in 0..200 {
        let _ = send.send_data(Bytes::new(), false);
    }
    let end = agent.session.closed().await;
    assert_eq!(end.close_code(), CloseCode::ENHANCE_CALM, "{end}");
}

#[tokio::test]
async fn sequences_of_pings_begin_above_0_and_0_is_a_broken_rule_both_ways() {
    let (agent, mut gateway) = Gateway::new(Config::default()).await;
    let session = agent.session.clone();
    tokio::spawn(async move { session.ping().await });
    let sequence = loop {
        if let Frame::Ping { sequence, ack: false } = gateway.frame().await {
            break sequence;
        }
    };
    assert!(sequence > 0);
    for ack in [false, true] {
        let (agent, mut gateway) = Gateway::new(Config::default()).await;
        gateway.say(&Frame::Ping { sequence: 0, ack });
        assert_eq!(gateway.close_code().await, CloseCode::PROTOCOL);
        agent.session.closed().await;
    }
}

#[tokio::test]
async fn a_hello_names_the_datagrams_that_it_takes_and_both_sides_have_to() {
    let (agent, mut gateway) = Gateway::new(Config::default()).await;
    let Frame::Hello(theirs) = gateway.frame().await else { panic!("HELLO comes first") };
    assert_eq!((theirs.max_datagram, theirs.features), (16_376, vec![Feature::DATAGRAM]));
    agent.session.close(CloseCode::NONE, "");
    for (features, config, expected) in [
        (vec![Feature::DATAGRAM], Config::default(), 1_200),
        (vec![], Config::default(), 0),
        (vec![Feature::DATAGRAM], Config::default().max_datagram(0), 0),
    ] {
        let mut hello = Hello::new();
        (hello.max_streams, hello.max_datagram, hello.features) = (1, 1_200, features);
        let (agent, mut gateway) = Gateway::saying(hello, config).await;
        gateway.say(&Frame::Ping { sequence: 1, ack: false });
        while !matches!(gateway.frame().await, Frame::Ping { .. }) {}
        assert_eq!(agent.session.max_datagram(), expected);
    }
}

#[tokio::test]
async fn w16_a_hello_without_a_common_version_is_told_so() {
    let mut hello = Hello::new();
    hello.versions = VersionRange::new(Version::from_u16(2), Version::from_u16(9)).unwrap();
    let (agent, mut gateway) = Gateway::saying(hello, Config::default()).await;
    assert_eq!(gateway.close_code().await, CloseCode::UNSUPPORTED_VERSION);
    let end = SessionEnd::Violation(Violation::NoCommonVersion);
    assert_eq!(agent.session.closed().await, end);
}

#[tokio::test]
async fn m04_five_hundred_visitors_who_leave_at_once_leave_the_session_alive() {
    let (mut agent, mut gateway) = Gateway::new(Config::default().max_peer_streams(1_000)).await;
    gateway.requests = gateway.requests.ready().await.unwrap();
    // All of it is written before the agent reads any.
    for _ in 0..500 {
        let (_answer, mut send) = gateway.ask("/stream", Some(""));
        send.send_reset(Reason::CANCEL);
    }
    let (_answer, _send) = gateway.ask("/stream", Some("bGFzdA"));
    while agent.incoming.accept().await.expect("the session lives").head().as_ref() != b"last" {}
    assert_eq!(agent.session.end(), None);
}

#[tokio::test]
async fn a_stop_for_a_stream_that_is_over_changes_nothing() {
    let (mut agent, mut gateway) = Gateway::new(Config::default()).await;
    for id in [1, 99, 0x7fff_ffff] {
        let stop = octets(&Frame::Stop { id, code: CloseCode::CANCELLED });
        gateway.control.send_data(stop, false).unwrap();
    }
    let _asked = gateway.ask("/stream", Some(""));
    assert!(agent.incoming.accept().await.is_some());
}

#[tokio::test]
async fn http2s_own_codes_have_ours_of_the_same_name() {
    let (mut agent, mut gateway) = Gateway::new(Config::default()).await;
    for (reason, code) in [
        (Reason::CANCEL, CloseCode::CANCELLED),
        (Reason::REFUSED_STREAM, CloseCode::REFUSED),
        (Reason::from(0xad17_0022), CloseCode::UPSTREAM_RESET),
    ] {
        let (_answer, mut send) = gateway.ask("/stream", Some(""));
        let mut stream = agent.accept().await;
        send.send_reset(reason);
        assert_eq!(stream.read_chunk().await, Err(StreamError::Reset { code }));
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_falls_silent_or_never_speaks_is_found_dead() {
    let (near, _far) = duplex(64 * 1024);
    let agent = End::new(start(Role::Dialler, near, &Config::default()));
    let which = Timeout::Handshake;
    assert_eq!(agent.session.closed().await, SessionEnd::TimedOut { which });

    let Pair { agent, gateway } = Pair::new(On::H2).await;
    agent.session.ping().await.unwrap();
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!((agent.session.end(), gateway.session.end()), (None, None), "idle is not dead");
}
