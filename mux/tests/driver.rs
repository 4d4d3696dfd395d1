//! The tokio driver, over pipes and sockets.
#![cfg(feature = "tokio")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail, and owns its tasks and clock"
)]

use adit_mux::{Builder, Config, Incoming, OpenError, Role, Session, SessionEnd, Stream, StreamError};
use adit_wire_proto::CloseCode;
use bytes::Bytes;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

fn pair_with(pipe: usize, config: Config) -> (Session, Incoming, Session, Incoming) {
    let (near, far) = duplex(pipe);
    let (dialler, from_listener, near) = Builder::new(Role::Dialler).config(config.clone()).build(near);
    let (listener, from_dialler, far) = Builder::new(Role::Listener).config(config).build(far);
    tokio::spawn(near);
    tokio::spawn(far);
    (dialler, from_listener, listener, from_dialler)
}

async fn streams(session: &Session, incoming: &mut Incoming) -> (Stream, Stream) {
    let ours = session.open(Bytes::from_static(b"head")).await.unwrap();
    let theirs = incoming.accept().await.unwrap();
    assert_eq!(theirs.head().as_ref(), b"head");
    (ours, theirs.accept())
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

#[tokio::test]
async fn a_stream_carries_bytes_both_ways_and_ends_each_way_apart() {
    let (session, _keep, _listener, mut incoming) = pair_with(64 * 1024, Config::default());
    let (mut ours, mut theirs) = streams(&session, &mut incoming).await;
    ours.write_all(b"ping").await.unwrap();
    ours.shutdown().await.unwrap();
    let mut text = Vec::new();
    theirs.read_to_end(&mut text).await.unwrap();
    assert_eq!(text, b"ping");
    theirs.write_all(b"pong").await.unwrap();
    theirs.shutdown().await.unwrap();
    text.clear();
    ours.read_to_end(&mut text).await.unwrap();
    assert_eq!(text, b"pong");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn megabytes_arrive_whole_over_pipes_of_any_width() {
    for pipe in [1, 7, 100, 4096, 1 << 20] {
        let (session, _keep, _listener, mut incoming) = pair_with(pipe, Config::default());
        let length = if pipe < 100 { 50_000 } else { 3_000_000 };
        let (ours, theirs) = streams(&session, &mut incoming).await;
        let (mut send, mut receive) = ours.split();
        let writer = tokio::spawn(async move {
            send.write_all(&pattern(length)).await.unwrap();
            send.finish().unwrap();
        });
        let (mut send_back, mut receive_there) = theirs.split();
        let echo = tokio::spawn(async move {
            tokio::io::copy(&mut receive_there, &mut send_back).await.map(|n| (n, send_back))
        });
        let mut back = vec![0; length];
        receive.read_exact(&mut back).await.unwrap();
        assert!(back == pattern(length), "pipe of {pipe}");
        writer.await.unwrap();
        let _ = echo.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_reset_carries_its_code_into_the_io_error() {
    let (session, _keep, _listener, mut incoming) = pair_with(64 * 1024, Config::default());
    let (mut ours, mut theirs) = streams(&session, &mut incoming).await;
    theirs.reset(CloseCode::UPSTREAM_RESET);
    let error = ours.read(&mut [0; 8]).await.unwrap_err();
    let code = CloseCode::UPSTREAM_RESET;
    assert_eq!(StreamError::of(&error), Some(&StreamError::Reset { code }));
    theirs.stop(CloseCode::UPSTREAM_TIMEOUT);
    let error = loop {
        match ours.write(b"x").await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    let code = CloseCode::UPSTREAM_TIMEOUT;
    assert_eq!(StreamError::of(&error), Some(&StreamError::Stopped { code }));
}

#[tokio::test]
async fn a_refused_stream_fails_on_both_halves_with_the_code() {
    let (session, _keep, _listener, mut incoming) = pair_with(64 * 1024, Config::default());
    let mut ours = session.open(Bytes::new()).await.unwrap();
    incoming.accept().await.unwrap().refuse(CloseCode::UNKNOWN_TUNNEL);
    let error = ours.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(StreamError::of(&error).unwrap().close_code(), CloseCode::UNKNOWN_TUNNEL);
}

#[tokio::test]
async fn closing_tells_both_sides_why() {
    let (session, _keep, listener, _incoming) = pair_with(64 * 1024, Config::default());
    session.close(CloseCode::TERMINATED, "enough");
    let reason = Bytes::from_static(b"enough");
    let end = SessionEnd::Peer { code: CloseCode::TERMINATED, reason: reason.clone() };
    assert_eq!(listener.closed().await, end);
    assert_eq!(session.closed().await, SessionEnd::Local { code: CloseCode::TERMINATED, reason });
    assert!(matches!(session.open(Bytes::new()).await, Err(OpenError::Session(_))));
}

#[tokio::test(start_paused = true)]
async fn a_ping_is_answered() {
    let (session, _keep, _listener, _incoming) = pair_with(64 * 1024, Config::default());
    session.ping().await.unwrap();
    session.ping().await.unwrap();
    assert!(session.stats().rtt.is_some());
}

/// Such an end may wait for others, so that one wake is enough; not for long, and not for ever.
#[tokio::test(start_paused = true)]
async fn who_can_only_let_go_of_a_stream_hears_of_its_end_in_a_moment() {
    let (session, _keep, _listener, mut incoming) = pair_with(64 * 1024, Config::default());
    let (mut over, mut over_there) = streams(&session, &mut incoming).await;
    let (mut busy, mut busy_there) = streams(&session, &mut incoming).await;
    over_there.shutdown().await.unwrap();
    assert_eq!(over.read(&mut [0; 1]).await.unwrap(), 0);
    let end = tokio::spawn(async move { over_there.read(&mut [0; 1]).await.unwrap() });
    let message = tokio::spawn(async move { busy_there.read(&mut [0; 1]).await.unwrap() });
    tokio::task::yield_now().await;
    // Both leave in one batch, so that both readers are due in one turn.
    let sent = tokio::time::Instant::now();
    over.shutdown().await.unwrap();
    busy.write_all(&[1]).await.unwrap();
    assert_eq!(message.await.unwrap(), 1);
    assert_eq!(end.await.unwrap(), 0);
    let held = sent.elapsed();
    assert!(held > Duration::ZERO, "nothing was held, so this shows nothing");
    assert!(held < Duration::from_millis(5), "{held:?} of a clock that only the waits move");
}
