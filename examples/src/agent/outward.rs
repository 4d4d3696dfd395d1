//! The way out: a TCP connection towards the gateway, through an HTTP proxy where the environment names one.

use crate::BoxError;
use adit_mux::proxy::{ConnectOptions, ProxySettings, Target, connect};
use std::time::Duration;
use tokio::net::TcpStream;

/// Whether the environment names a proxy for `gateway`, which is `host:port`.
pub(super) fn is_behind_proxy(gateway: &str) -> bool {
    let settings = ProxySettings::from_variables(|name| std::env::var(name).ok());
    let target = gateway.parse::<Target>();
    matches!((settings, target), (Ok(settings), Ok(target)) if settings.proxy_for(&target).is_some())
}

/// Connects to `gateway`, which is `host:port`. A proxy may take `patience` for its part.
///
/// # Errors
/// What the system says; a proxy that is none, refuses, or wants another password.
pub(super) async fn connect_tcp(gateway: &str, patience: Duration) -> Result<TcpStream, BoxError> {
    let settings = ProxySettings::from_variables(|name| std::env::var(name).ok())?;
    let target: Target = gateway.parse().map_err(|error| format!("{gateway}: {error}"))?;
    let Some(proxy) = settings.proxy_for(&target) else {
        let socket = TcpStream::connect(gateway).await?;
        socket.set_nodelay(true)?;
        return Ok(socket);
    };
    tracing::debug!(?proxy, "going through a proxy");
    let socket = TcpStream::connect((proxy.host(), proxy.port())).await?;
    socket.set_nodelay(true)?;
    let (socket, ahead) =
        connect(socket, proxy, &target, ConnectOptions::new().deadline(patience)).await?.into_parts();
    // In TLS it is for us to speak first.
    if ahead.is_empty() { Ok(socket) } else { Err("what answers behind the proxy speaks first".into()) }
}
