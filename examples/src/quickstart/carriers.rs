//! The same visits when the agent's session is not native.

use super::World;
use super::rows::{Outcome, echo_at, expect, expect_status};
use super::table::Moved;
use super::visitor::{exchange, get, text};
use super::world::port_of;
use adit_mux::Carrier;
use http::StatusCode;

/// HTTP by host, and TCP on a public port, of agents that have `carrier` alone.
pub(crate) async fn http_and_tcp(world: &World, carrier: Carrier) -> Outcome {
    let (name, echo) = (format!("app-by-{carrier}"), format!("echo-by-{carrier}"));
    let (http_agent, _) = world.start_by(carrier, &name, true).await?;
    let response = exchange(world.http().await?, get(&world.host(&name), "/")?).await?;
    expect_status(&response, StatusCode::OK)?;
    let body = text(response).await?;
    expect(body.starts_with("hello"), "the upstream answers")?;
    let (tcp_agent, addresses) = world.start_by(carrier, &echo, false).await?;
    let echoed = echo_at(port_of(&addresses).ok_or("the TCP tunnel has no port")?).await?;
    let (_, tunnel) = world.api("GET", &format!("/tunnels/{name}"), &serde_json::Value::Null).await?;
    expect(tunnel["carrier"] == carrier.name(), "the owner sees by what its agent came")?;
    http_agent.shutdown_background();
    tcp_agent.shutdown_background();
    Ok(Moved { bytes: echoed.bytes + u64::try_from(body.len())? })
}
