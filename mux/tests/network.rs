//! The driver on a simulated network that holds, partitions and crashes.
#![cfg(feature = "tokio")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail, and owns its tasks and clock"
)]

use adit_mux::{Builder, Role, Session, SessionEnd, Timeout};
use bytes::Bytes;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use turmoil::net::{TcpListener, TcpStream};

/// A host that echoes every stream of every session.
async fn echo() -> turmoil::Result {
    let listener = TcpListener::bind("0.0.0.0:9000").await?;
    loop {
        let (socket, _) = listener.accept().await?;
        let (session, mut incoming, driver) = Builder::new(Role::Listener).build(socket);
        tokio::spawn(driver);
        tokio::spawn(async move {
            let _session = session;
            while let Some(stream) = incoming.accept().await {
                let (mut send, mut receive) = stream.accept().split();
                tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut receive, &mut send).await;
                    let _ = send.finish();
                });
            }
        });
    }
}

async fn connect() -> turmoil::Result<Session> {
    let socket = TcpStream::connect("gateway:9000").await?;
    let (session, _incoming, driver) = Builder::new(Role::Dialler).build(socket);
    tokio::spawn(driver);
    Ok(session)
}

async fn shout(session: &Session) -> turmoil::Result {
    let mut stream = session.open(Bytes::new()).await?;
    stream.write_all(b"hello").await?;
    stream.shutdown().await?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await?;
    assert_eq!(text, b"hello");
    Ok(())
}

fn simulation() -> turmoil::Sim<'static> {
    let mut simulation = turmoil::Builder::new()
        .simulation_duration(Duration::from_secs(120))
        .tick_duration(Duration::from_millis(5))
        .build();
    simulation.host("gateway", echo);
    simulation
}

#[test]
fn a_partition_is_noticed_within_45_seconds() {
    let mut simulation = simulation();
    simulation.client("agent", async {
        let session = connect().await?;
        shout(&session).await?;
        turmoil::partition("agent", "gateway");
        let start = tokio::time::Instant::now();
        assert_eq!(session.closed().await, SessionEnd::TimedOut { which: Timeout::Silence });
        assert!(start.elapsed() < Duration::from_secs(45));
        Ok(())
    });
    simulation.run().unwrap();
}

#[test]
fn a_network_that_holds_for_a_while_costs_nothing() {
    let mut simulation = simulation();
    simulation.client("agent", async {
        let session = connect().await?;
        shout(&session).await?;
        turmoil::hold("agent", "gateway");
        let late = session.clone();
        let waiting = tokio::spawn(async move { shout(&late).await.is_ok() });
        tokio::time::sleep(Duration::from_secs(10)).await;
        turmoil::release("agent", "gateway");
        assert!(waiting.await?);
        shout(&session).await
    });
    simulation.run().unwrap();
}
