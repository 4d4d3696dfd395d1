//! Hosts that name a port behind an agent.

use super::World;
use super::rows::{Outcome, expect, expect_status, moved};
use super::visitor::{exchange, get, text};
use crate::agent::{Local, Tunnel};
use http::StatusCode;
use serde_json::Value;

/// A visitor chooses among the ports that the agent's owner allowed, and reaches no other, nor any by a made-up key.
pub(crate) async fn ports(world: &mut World) -> Outcome {
    let port = world.upstream().port();
    let tunnel = Tunnel::Http { upstream: "1".parse()?, name: Some("my-machine".to_owned()) };
    let local = Local { ports: vec![port.to_string().parse()?], ..Local::default() };
    world.agent_with("my-machine", tunnel, local).await?;
    let (_, shown) = world.api("GET", "/tunnels/my-machine", &Value::Null).await?;
    let key = shown["tunnel_key"].as_str().ok_or("the owner is shown no key")?;
    let response = exchange(world.http().await?, get(&world.host(&format!("{port}-{key}")), "/")?).await?;
    expect_status(&response, StatusCode::OK)?;
    let body = text(response).await?;
    expect(body.starts_with("hello"), "the service at that port answers")?;
    let other = exchange(world.http().await?, get(&world.host(&format!("22-{key}")), "/")?).await?;
    expect_status(&other, StatusCode::BAD_GATEWAY)?;
    let forged = format!("{port}-{}", key.chars().rev().collect::<String>());
    let unknown = exchange(world.http().await?, get(&world.host(&forged), "/")?).await?;
    expect_status(&unknown, StatusCode::NOT_FOUND)?;
    Ok(moved(body.len()))
}
