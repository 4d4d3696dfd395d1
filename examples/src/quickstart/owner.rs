//! The checks of what owners decide: one function a row, each on a tunnel of its own.

use super::World;
use super::rows::{Outcome, expect, expect_status, moved};
use super::visitor::{self, exchange, get, text};
use crate::BoxError;
use crate::agent::{Terms, Tunnel};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use std::ops::Range;
use std::time::Duration;

/// Ports to ask for, of the gateway's range.
const PORTS: Range<u16> = 35_432..35_500;

/// Only who presents the token gets in, and the upstream never sees it.
pub(crate) async fn bearer(world: &mut World) -> Outcome {
    let terms = Terms { auth: Some("authenticated".to_owned()), ..Terms::default() };
    let token = world.http_agent("my-desk", terms).await?.ok_or("no token was made")?;
    refusal(visit(world, "my-desk", "/", &[]).await?, 401, "missing_bearer").await?;
    let wrong = visit(world, "my-desk", "/", &[("x-adit-authorization", "Bearer adv_wrong")]).await?;
    refusal(wrong, 401, "AUTH_FAILED").await?;
    let bearer = format!("Bearer {token}");
    let shown = visit(world, "my-desk", "/headers", &[("x-runloop-tunnel-authorization", &bearer)]).await?;
    expect_status(&shown, StatusCode::OK)?;
    let fields = text(shown).await?;
    expect(!fields.contains(&token), "the token stays at the gateway")?;
    Ok(moved(fields.len()))
}

/// A link for an outsider: on its terms, until it is revoked.
pub(crate) async fn share(world: &World) -> Outcome {
    let terms =
        json!({ "name": "for the client", "expiresIn": "24h", "allowedMethods": ["GET"], "rateLimit": 60 });
    let (status, share) = world.api("POST", "/tunnels/my-desk/shares", &terms).await?;
    expect(status == 201, "a share is made")?;
    let link = share["shareUrl"].as_str().ok_or("no link")?;
    let path = &link[link.find("/.adit/").ok_or("no share's path")?..];
    let entered = visit(world, "my-desk", path, &[]).await?;
    expect_status(&entered, StatusCode::SEE_OTHER)?;
    let cookie = entered.headers().get(header::SET_COOKIE).ok_or("no cookie")?.to_str()?.to_owned();
    let cookie = cookie.split(';').next().unwrap_or_default();
    let page = text(visit(world, "my-desk", "/", &[("cookie", cookie)]).await?).await?;
    expect(page.starts_with("hello"), "who has the link is let in")?;
    let post = Request::post("/").header("host", world.host("my-desk")).header("cookie", cookie);
    let refused = exchange(world.http().await?, post.body(Full::<Bytes>::default())?).await?;
    expect(refused.headers().get("allow").is_some_and(|allow| allow == "GET, HEAD"), "its methods are told")?;
    refusal(refused, 405, "METHOD_NOT_ALLOWED").await?;
    let id = share["id"].as_str().ok_or("no id")?;
    world.api("DELETE", &format!("/tunnels/my-desk/shares/{id}"), &Value::Null).await?;
    refusal(visit(world, "my-desk", "/", &[("cookie", cookie)]).await?, 404, "NOT_FOUND").await?;
    Ok(moved(page.len()))
}

/// Nobody gets into a paused tunnel, until it is resumed.
pub(crate) async fn pause(world: &World) -> Outcome {
    command(world, "POST", "/tunnels/my-app/pause", "paused").await?;
    refusal(visit(world, World::HTTP, "/", &[]).await?, 503, "TUNNEL_PAUSED").await?;
    command(world, "POST", "/tunnels/my-app/resume", "active").await?;
    served(world, World::HTTP).await
}

/// A deleted tunnel is as if it had never been, but its name waits a day for a restore.
pub(crate) async fn delete_and_restore(world: &World) -> Outcome {
    command(world, "DELETE", "/tunnels/my-app", "delete_pending").await?;
    refusal(visit(world, World::HTTP, "/", &[]).await?, 404, "NOT_FOUND").await?;
    let (status, taken) = world.api("POST", "/tunnels", &json!({ "subdomain": World::HTTP })).await?;
    expect(status == 409 && taken["error"] == "SUBDOMAIN_TAKEN", "the name waits")?;
    command(world, "POST", "/tunnels/my-app/restore", "active").await?;
    served(world, World::HTTP).await
}

/// A visit wakes the machine behind a tunnel, once, and is served when its agent is there.
pub(crate) async fn wake(world: &mut World) -> Outcome {
    let terms = Terms { wake_on_http: true, ..Terms::default() };
    world.http_agent("my-nap", terms.clone()).await?;
    world.stop_agent("my-nap");
    let host = world.host("my-nap");
    loop {
        let (_, tunnel) = world.api("GET", "/tunnels/my-nap", &Value::Null).await?;
        if tunnel["is_connected"] == false {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (one, other) = (world.http().await?, world.http().await?);
    let (one, other) = (exchange(one, get(&host, "/")?), exchange(other, get(&host, "/")?));
    let woken = async {
        expect(world.woken().await? == "my-nap", "the machine of that tunnel is woken")?;
        world.http_agent("my-nap", terms).await
    };
    let (one, other, woken) = tokio::join!(one, other, woken);
    woken?;
    for response in [one?, other?] {
        expect_status(&response, StatusCode::OK)?;
    }
    served(world, "my-nap").await
}

/// A third party's webhooks, without a server of one's own: judged, kept, polled for.
pub(crate) async fn webhooks(world: &World) -> Outcome {
    let new = json!({ "validator": "github", "secret": "It's a Secret to Everybody", "name": "pushes" });
    let (_, receiver) = world.api("POST", "/webhook-receivers", &new).await?;
    let id = receiver["id"].as_str().ok_or("no receiver")?;
    for body in ["Hello, World!", "Hello, Moon!"] {
        let delivery = Request::post(format!("/webhooks/{id}"))
            .header("host", world.host("webhooks"))
            .header("x-hub-signature-256", SIGNATURE)
            .body(Full::<Bytes>::from(body))?;
        expect_status(&exchange(world.http().await?, delivery).await?, StatusCode::ACCEPTED)?;
    }
    let path = format!("/webhook-receivers/{id}/events?since=0&limit=50");
    let (_, events) = world.api("GET", &path, &Value::Null).await?;
    let events = events.as_array().ok_or("no events")?;
    let valid: Vec<_> = events.iter().map(|event| event["signature_valid"] == true).collect();
    expect(valid == [true, false], "one is signed, one is marked as not")?;
    Ok(moved(26))
}

/// A key with a budget for one tunnel opens one, and its agent stops and asks for a person.
pub(crate) async fn budget(world: &mut World) -> Outcome {
    let cents = World::TUNNEL_CENTS;
    let mint = json!({ "name": "an agent's", "monthlyBudgetUsdCents": cents, "tunnelQuota": 10 });
    let (_, token) = world.api("POST", "/tokens", &mint).await?;
    let key = token["apiKey"].as_str().ok_or("no key")?;
    world.http_agent_by("my-first", key).await?;
    let refused = world.http_agent_by("my-second", key).await;
    expect(refused.is_err_and(|error| error.to_string().contains("budget")), "the second is over budget")?;
    let id = token["id"].as_str().ok_or("no id")?;
    let raise = json!({ "monthlyBudgetUsdCents": 2 * cents });
    expect(world.api("PUT", &format!("/tokens/{id}/budget"), &raise).await?.0 == 200, "an owner raises it")?;
    world.http_agent_by("my-second", key).await?;
    served(world, "my-second").await
}

/// A public port that a tunnel asked for is its own: another one is refused, and told which is free.
pub(crate) async fn reserved_port(world: &mut World) -> Outcome {
    let tunnel = |world: &World, name: &str, port| Tunnel::Tcp {
        upstream: world.echo().into(),
        name: Some(name.to_owned()),
        public_port: Some(port),
    };
    // Other programs of this machine may have some of them.
    let mut ports = PORTS;
    let port = loop {
        let port = ports.next().ok_or("no port is free")?;
        let wanted = tunnel(world, "my-port", port);
        match world.agent_on("my-port", wanted, Terms::default()).await {
            Ok((addresses, _)) => {
                expect(addresses == [format!("tcp://127.0.0.1:{port}")], "it is the one asked for")?;
                break port;
            }
            Err(error) if error.to_string().contains("outside this gateway") => {}
            Err(error) => return Err(error),
        }
    };
    let wanted = tunnel(world, "no-port", port);
    let refused = world.agent_on("no-port", wanted, Terms::default()).await;
    expect(refused.is_err_and(|error| error.to_string().contains("port")), "nobody else gets it")?;
    Ok(moved(0))
}

async fn visit(
    world: &World,
    name: &str,
    path: &str,
    fields: &[(&'static str, &str)],
) -> Result<Response<Incoming>, BoxError> {
    let mut request = get(&world.host(name), path)?;
    for (name, value) in fields {
        request.headers_mut().insert(*name, value.parse()?);
    }
    exchange(world.http().await?, request).await
}

async fn served(world: &World, name: &str) -> Outcome {
    let response = visit(world, name, "/", &[]).await?;
    expect_status(&response, StatusCode::OK)?;
    Ok(moved(text(response).await?.len()))
}

async fn refusal(response: Response<Incoming>, status: u16, code: &str) -> Result<(), BoxError> {
    let got = response.status().as_u16();
    let envelope: Value = serde_json::from_str(&text(response).await?)?;
    expect(got == status && envelope["error"] == code, &format!("{status} {code}, not {got} {envelope}"))
}

async fn command(world: &World, method: &str, path: &str, status: &str) -> Result<(), BoxError> {
    let (_, tunnel) = world.api(method, path, &Value::Null).await?;
    expect(tunnel["status"] == status, &format!("the tunnel is {status}, not {}", tunnel["status"]))
}

/// One request to the admin API.
pub(super) async fn call(
    address: std::net::SocketAddr,
    token: &str,
    method: &str,
    path: &str,
    body: &Value,
) -> Result<(u16, Value), BoxError> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = Request::builder().method(method).uri(path).header("host", "admin");
    let request =
        request.header("authorization", format!("Bearer {token}")).body(Full::<Bytes>::from(body))?;
    let response = exchange(visitor::connect(address).await?, request).await?;
    let status = response.status().as_u16();
    let answer = response.into_body().collect().await?.to_bytes();
    Ok((status, serde_json::from_slice(&answer)?))
}

/// GitHub's documented example, of `Hello, World!`.
const SIGNATURE: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
