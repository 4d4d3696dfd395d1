//! The driver on a simulated network that holds, partitions and crashes. `ADIT_MUX_SEED` chooses another course of
//! events; the seed in use is printed.
#![cfg(feature = "tokio")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail, and owns its tasks and clock"
)]

use adit_mux::{Builder, Role, Session, SessionEnd, Timeout};
use adit_wire_proto::CloseCode;
use bytes::Bytes;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use turmoil::net::{TcpListener, TcpStream};

/// How the gateway's sessions ended, and how long after they began.
type Ends = Arc<Mutex<Vec<(SessionEnd, Duration)>>>;

/// A host that echoes every stream of every session.
async fn echo(ends: Ends) -> turmoil::Result {
    let listener = TcpListener::bind("0.0.0.0:9000").await?;
    loop {
        let (socket, _) = listener.accept().await?;
        let (session, mut incoming, driver) = Builder::new(Role::Listener).build(socket);
        let (ends, begin) = (Arc::clone(&ends), Instant::now());
        tokio::spawn(async move {
            let end = driver.await;
            ends.lock().unwrap().push((end, begin.elapsed()));
        });
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

/// Writes until it fails, and never reads.
fn flood(session: &Session) -> tokio::task::JoinHandle<std::io::Error> {
    let session = session.clone();
    tokio::spawn(async move {
        let mut stream = session.open(Bytes::new()).await.unwrap();
        loop {
            if let Err(error) = stream.write_all(&[1; 10_000]).await {
                return error;
            }
        }
    })
}

fn simulation() -> (turmoil::Sim<'static>, Ends) {
    let seed = std::env::var("ADIT_MUX_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("network of seed {seed}");
    let mut simulation = turmoil::Builder::new()
        .rng_seed(seed)
        .simulation_duration(Duration::from_secs(300))
        .tick_duration(Duration::from_millis(5))
        .build();
    let ends = Ends::default();
    let kept = Arc::clone(&ends);
    simulation.host("gateway", move || echo(Arc::clone(&kept)));
    (simulation, ends)
}

const DEAD: Duration = Duration::from_secs(45);
const SILENCE: SessionEnd = SessionEnd::TimedOut { which: Timeout::Silence };

#[test]
fn f01_f02_a_partition_is_noticed_on_both_sides_within_45_seconds() {
    let (mut simulation, ends) = simulation();
    let gateway = Arc::clone(&ends);
    simulation.client("agent", async move {
        let session = connect().await?;
        shout(&session).await?;
        turmoil::partition("agent", "gateway");
        let start = Instant::now();
        assert_eq!(session.closed().await, SILENCE);
        assert!(start.elapsed() < DEAD);
        tokio::time::sleep_until(start + DEAD).await;
        assert!(matches!(&gateway.lock().unwrap()[..], [(SILENCE, _)]));
        // What is repaired is a new connection's.
        turmoil::repair("agent", "gateway");
        shout(&connect().await?).await
    });
    simulation.run().unwrap();
}

#[test]
fn f02_a_partition_is_noticed_with_a_full_send_buffer_too() {
    let (mut simulation, ends) = simulation();
    let gateway = Arc::clone(&ends);
    simulation.client("agent", async move {
        let session = connect().await?;
        let writer = flood(&session);
        tokio::time::sleep(Duration::from_secs(2)).await;
        turmoil::partition("agent", "gateway");
        let start = Instant::now();
        assert!(matches!(session.closed().await, SessionEnd::TimedOut { .. }));
        assert!(start.elapsed() < DEAD);
        writer.await?;
        tokio::time::sleep_until(start + DEAD).await;
        assert!(matches!(&gateway.lock().unwrap()[..], [(SessionEnd::TimedOut { .. }, _)]));
        Ok(())
    });
    simulation.run().unwrap();
}

#[test]
fn f01_a_network_that_holds_for_a_while_costs_nothing() {
    let (mut simulation, ends) = simulation();
    let gateway = Arc::clone(&ends);
    simulation.client("agent", async move {
        let session = connect().await?;
        shout(&session).await?;
        turmoil::hold("agent", "gateway");
        let late = session.clone();
        let waiting = tokio::spawn(async move { shout(&late).await.is_ok() });
        tokio::time::sleep(Duration::from_secs(10)).await;
        turmoil::release("agent", "gateway");
        assert!(waiting.await?);
        assert!(gateway.lock().unwrap().is_empty());
        shout(&session).await
    });
    simulation.run().unwrap();
}

#[test]
fn f02_a_network_that_holds_for_good_is_noticed_on_both_sides() {
    let (mut simulation, ends) = simulation();
    let gateway = Arc::clone(&ends);
    simulation.client("agent", async move {
        let session = connect().await?;
        let writer = flood(&session);
        tokio::time::sleep(Duration::from_secs(2)).await;
        turmoil::hold("agent", "gateway");
        let start = Instant::now();
        assert!(matches!(session.closed().await, SessionEnd::TimedOut { .. }));
        assert!(start.elapsed() < DEAD);
        writer.await?;
        tokio::time::sleep_until(start + DEAD).await;
        assert!(matches!(&gateway.lock().unwrap()[..], [(SessionEnd::TimedOut { .. }, _)]));
        Ok(())
    });
    simulation.run().unwrap();
}

#[test]
fn f03_one_way_of_a_network_that_fails_ends_the_session_once_on_both_sides() {
    let (mut simulation, ends) = simulation();
    let gateway = Arc::clone(&ends);
    simulation.client("agent", async move {
        let session = connect().await?;
        shout(&session).await?;
        turmoil::partition_oneway("gateway", "agent");
        let start = Instant::now();
        assert_eq!(session.closed().await, SILENCE);
        assert!(start.elapsed() < DEAD);
        tokio::time::sleep_until(start + 2 * DEAD).await;
        // The gateway hears the agent all along: it is told why, or finds out by itself, and only once.
        let ends = gateway.lock().unwrap();
        let [(end, _)] = &ends[..] else { panic!("{ends:?}") };
        let is_told = matches!(end, SessionEnd::Peer { code: CloseCode::TIMEOUT, .. });
        assert!(is_told || *end == SILENCE, "{end}");
        Ok(())
    });
    simulation.run().unwrap();
}

#[test]
fn f04_a_peer_that_crashes_in_mid_stream_is_never_a_clean_end() {
    let (mut simulation, _ends) = simulation();
    let seen = Arc::new(Mutex::new(None));
    let report = Arc::clone(&seen);
    simulation.client("agent", async move {
        let session = connect().await?;
        let mut stream = session.open(Bytes::new()).await?;
        stream.write_all(b"half a sen").await?;
        let mut text = vec![0; 10];
        stream.read_exact(&mut text).await?;
        let read = stream.read(&mut text).await;
        *report.lock().unwrap() = Some(read.map_err(|error| error.kind()));
        session.closed().await;
        // And a new session with the host that is back works.
        loop {
            match connect().await {
                Ok(session) => return shout(&session).await,
                Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        }
    });
    let (mut crashed, mut back) = (false, false);
    while !simulation.step().unwrap() {
        if simulation.elapsed() > Duration::from_secs(5) && !crashed {
            simulation.crash("gateway");
            crashed = true;
        }
        if simulation.elapsed() > Duration::from_secs(60) && !back {
            simulation.bounce("gateway");
            back = true;
        }
    }
    assert!(matches!(*seen.lock().unwrap(), Some(Err(_))), "{seen:?}");
}
