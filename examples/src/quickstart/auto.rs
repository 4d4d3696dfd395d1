//! A public port that takes what its visitors speak.

use super::World;
use super::rows::{Outcome, expect, expect_status, moved};
use super::visitor::{connect, exchange, get, text};
use super::world::port_of;
use crate::agent::{Terms, Tunnel};
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// HTTP is treated as such: the upstream is told who visits, and not what the visitor claims. SSH goes through as it is.
pub(crate) async fn told_apart(world: &mut World) -> Outcome {
    let auto = |upstream: std::net::SocketAddr, name: &str| Tunnel::Auto {
        upstream: upstream.into(),
        name: Some(name.to_owned()),
        public_port: None,
    };
    let site = auto(world.upstream(), "my-site");
    let (addresses, _) = world.agent_on("my-site", site, Terms::default()).await?;
    let port = port_of(&addresses).ok_or("no port")?;
    let mut request = get(&port.to_string(), "/headers")?;
    request.headers_mut().insert("x-forwarded-for", "203.0.113.7".parse()?);
    let response = exchange(connect(port).await?, request).await?;
    expect_status(&response, StatusCode::OK)?;
    let fields = text(response).await?;
    expect(fields.contains("127.0.0.1") && !fields.contains("203.0.113.7"), "the fields are the gateway's")?;

    let shell = auto(world.echo(), "my-shell");
    let (addresses, _) = world.agent_on("my-shell", shell, Terms::default()).await?;
    let mut visitor = connect(port_of(&addresses).ok_or("no port")?).await?;
    visitor.write_all(b"SSH-2.0-visitor\r\n").await?;
    let mut echo = [0; 17];
    visitor.read_exact(&mut echo).await?;
    expect(&echo == b"SSH-2.0-visitor\r\n", "SSH comes and goes as it is")?;
    Ok(moved(fields.len() + 2 * echo.len()))
}
