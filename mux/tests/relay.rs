//! The relay, between streams and pipes.
#![cfg(feature = "tokio")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail, and owns its tasks and clock"
)]

use adit_mux::{
    Builder, Config, Incoming, RelayEnd, RelayOptions, Role, Session, Stream, StreamError, relay,
};
use adit_wire_proto::CloseCode;
use bytes::Bytes;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

async fn session() -> (Session, Incoming) {
    session_of(64 * 1024, Config::default())
}

fn session_of(pipe: usize, config: Config) -> (Session, Incoming) {
    let (near, far) = duplex(pipe);
    let (dialler, keep, near) = Builder::new(Role::Dialler).config(config.clone()).build(near);
    let (listener, incoming, far) = Builder::new(Role::Listener).config(config).build(far);
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
        send.write_all(&octets(3_000_000)).await.unwrap();
        send.finish().unwrap();
    };
    let mut back = Vec::new();
    let read = async { receive.read_to_end(&mut back).await.unwrap() };
    tokio::join!(write, read);
    assert!(back == octets(3_000_000));
    let report = relayed.await.unwrap();
    assert_eq!((report.forth_bytes, report.back_bytes), (3_000_000, 3_000_000));
}

#[tokio::test]
async fn regression_a_task_that_has_used_up_its_steps_loses_no_chunk() {
    // A chunk is read in one step and written in another: in one of these the last step is for reading.
    chunks_pass_in_a_task_that_spends(0).await;
    chunks_pass_in_a_task_that_spends(1).await;
}

/// Relays more chunks than a task may take in one turn, in one that spends so many steps before each.
async fn chunks_pass_in_a_task_that_spends(steps: u32) {
    const LENGTH: usize = 900_000;
    let config = Config::default().hello_window(1024 * 1024).start_window(1024 * 1024);
    let mut one = session_of(4 * 1024 * 1024, config.clone());
    let mut two = session_of(64 * 1024, config);
    let (visitor, middle) = streams(&mut one).await;
    let (onward, upstream) = streams(&mut two).await;
    let (mut up, _keep) = upstream.split();
    // Frames that are copied into pieces of 4 KiB, all of which lie ready before the relay begins.
    for (sent, piece) in octets(LENGTH).chunks(9_000).enumerate() {
        up.write_chunk(Bytes::copy_from_slice(piece)).await.unwrap();
        while two.0.stats().unread_bytes < u64::try_from(sent).unwrap() * 9_000 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    up.finish().unwrap();
    let mut relayed = pin!(relay(middle, onward, RelayOptions::new()));
    let relayed = poll_fn(|task| {
        for _ in 0..steps {
            if let Poll::Ready(step) = tokio::task::coop::poll_proceed(task) {
                step.made_progress();
            }
        }
        relayed.as_mut().poll(task)
    });
    let (mut send, mut receive) = visitor.split();
    send.finish().unwrap();
    let reader = tokio::spawn(async move {
        let mut back = Vec::new();
        receive.read_to_end(&mut back).await.map(|_| back)
    });
    let report = relayed.await;
    let back = reader.await.unwrap().unwrap();
    assert_eq!((report.back_bytes, back.len()), (900_000, LENGTH));
    assert!(back == octets(LENGTH));
}

/// Octets whose order shows.
fn octets(length: usize) -> Vec<u8> {
    (0u32..).flat_map(u32::to_le_bytes).take(length).collect()
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
