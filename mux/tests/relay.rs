//! The relay, between streams and pipes.
#![cfg(feature = "tokio")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail, and owns its tasks and clock"
)]

use adit_mux::{Builder, Incoming, RelayEnd, RelayOptions, Role, Session, Stream, StreamError, relay};
use adit_wire_proto::CloseCode;
use bytes::Bytes;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

async fn session() -> (Session, Incoming) {
    let (near, far) = duplex(64 * 1024);
    let (dialler, keep, near) = Builder::new(Role::Dialler).build(near);
    let (listener, incoming, far) = Builder::new(Role::Listener).build(far);
    tokio::spawn(near);
    tokio::spawn(far);
    // Held for as long as the test runs.
    std::mem::forget((keep, listener));
    (dialler, incoming)
}

async fn streams(ends: &mut (Session, Incoming)) -> (Stream, Stream) {
    let ours = ends.0.open(Bytes::new()).await.unwrap();
    (ours, ends.1.accept().await.unwrap().accept())
}

#[tokio::test]
async fn bytes_and_ends_pass_both_ways_between_a_stream_and_a_socket() {
    let mut ends = session().await;
    let (mut visitor, theirs) = streams(&mut ends).await;
    let (socket, mut upstream) = duplex(1000);
    let relayed = tokio::spawn(relay(theirs, socket, RelayOptions::new()));
    let request = vec![1; 200_000];
    let (mut send, mut receive) = (&mut visitor, Vec::new());
    let ((), read) = tokio::join!(
        async {
            send.write_all(&request).await.unwrap();
            send.shutdown().await.unwrap();
        },
        upstream.read_to_end(&mut receive)
    );
    assert_eq!(read.unwrap(), 200_000);
    upstream.write_all(&[2; 100_000]).await.unwrap();
    drop(upstream);
    let mut reply = Vec::new();
    send = &mut visitor;
    send.read_to_end(&mut reply).await.unwrap();
    assert_eq!(reply.len(), 100_000);
    let report = relayed.await.unwrap();
    assert_eq!((report.forth_bytes, report.back_bytes), (200_000, 100_000));
    assert_eq!((report.forth, report.back), (RelayEnd::Finished, RelayEnd::Finished));
}

#[tokio::test]
async fn a_reset_goes_through_two_streams_with_its_code() {
    let (mut one, mut two) = (session().await, session().await);
    let (mut visitor, middle) = streams(&mut one).await;
    let (onward, mut upstream) = streams(&mut two).await;
    let relayed = tokio::spawn(relay(middle, onward, RelayOptions::new()));
    visitor.write_all(b"hello").await.unwrap();
    upstream.read_exact(&mut [0; 5]).await.unwrap();
    upstream.reset(CloseCode::UPSTREAM_RESET);
    let error = visitor.read(&mut [0; 8]).await.unwrap_err();
    let code = CloseCode::UPSTREAM_RESET;
    assert_eq!(StreamError::of(&error), Some(&StreamError::Reset { code }));
    let report = relayed.await.unwrap();
    assert_eq!(report.back, RelayEnd::Stream(StreamError::Reset { code }));
    assert_eq!(report.forth, RelayEnd::Aborted);
}

#[tokio::test]
async fn bytes_pass_between_two_streams_with_backpressure() {
    let (mut one, mut two) = (session().await, session().await);
    let (visitor, middle) = streams(&mut one).await;
    let (onward, upstream) = streams(&mut two).await;
    let relayed = tokio::spawn(relay(middle, onward, RelayOptions::new()));
    let (mut echo_send, mut echo_receive) = upstream.split();
    tokio::spawn(async move {
        tokio::io::copy(&mut echo_receive, &mut echo_send).await.unwrap();
        echo_send.finish().unwrap();
    });
    let (mut send, mut receive) = visitor.split();
    let write = async {
        send.write_all(&vec![3; 3_000_000]).await.unwrap();
        send.finish().unwrap();
    };
    let mut back = Vec::new();
    let read = async { receive.read_to_end(&mut back).await.unwrap() };
    assert_eq!(tokio::join!(write, read).1, 3_000_000);
    let report = relayed.await.unwrap();
    assert_eq!((report.forth_bytes, report.back_bytes), (3_000_000, 3_000_000));
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_idles_ends_both_ways_with_timeout() {
    let mut ends = session().await;
    let (mut visitor, theirs) = streams(&mut ends).await;
    let (socket, _upstream) = duplex(1000);
    let relayed = tokio::spawn(relay(theirs, socket, RelayOptions::new().idle(Duration::from_secs(60))));
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(40)).await;
        visitor.write_all(b"still here").await.unwrap();
    }
    let error = visitor.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(StreamError::of(&error).unwrap().close_code(), CloseCode::TIMEOUT);
    assert_eq!(relayed.await.unwrap().back, RelayEnd::Idle);
}

#[tokio::test]
async fn a_socket_that_goes_away_stops_the_stream() {
    let mut ends = session().await;
    let (mut visitor, theirs) = streams(&mut ends).await;
    let (socket, upstream) = duplex(1000);
    let options = RelayOptions::new().write_failure(CloseCode::UPSTREAM_RESET);
    let relayed = tokio::spawn(relay(theirs, socket, options));
    drop(upstream);
    let error = loop {
        if let Err(error) = visitor.write(&[0; 1000]).await {
            break error;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(StreamError::of(&error).unwrap().close_code(), CloseCode::UPSTREAM_RESET);
    assert_eq!(relayed.await.unwrap().back, RelayEnd::Finished);
}
