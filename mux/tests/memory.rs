//! What is held, as the allocator sees it: octets on the heap, not what our own counters say.
#![cfg(feature = "tokio")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail, and owns its tasks and clock"
)]

use adit_mux::{Builder, Incoming, RelayOptions, Role, Session, Stream, relay};
use allocation_counter::measure;
use bytes::Bytes;
use std::task::{Context, Waker};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

const KIB: i64 = 1024;

/// What `act` leaves on the heap, in octets, and what it returns.
fn left_by<T>(act: impl FnOnce() -> T) -> (i64, T) {
    let mut result = None;
    let info = measure(|| result = Some(act()));
    (info.bytes_current, result.unwrap())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

#[test]
fn mx41_sessions_that_nobody_has_greeted_hold_little() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let begin = || {
        let (near, far) = duplex(64);
        let (session, incoming, driver) = Builder::new(Role::Listener).build(near);
        let mut driver = Box::pin(driver);
        assert!(driver.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        (session, incoming, driver, far)
    };
    let _first = begin();
    let (bytes, _sessions) = left_by(|| (0..100).map(|_| begin()).collect::<Vec<_>>());
    assert!(bytes / 100 <= 12 * KIB, "{} octets a session", bytes / 100);
}

async fn connected() -> (Session, Stream, Stream, (Incoming, Session, Incoming)) {
    let (near, far) = duplex(256 * 1024);
    let (session, from_far, near) = Builder::new(Role::Dialler).build(near);
    let (peer, mut incoming, far) = Builder::new(Role::Listener).build(far);
    tokio::spawn(near);
    tokio::spawn(far);
    let ours = session.open(Bytes::new()).await.unwrap();
    let theirs = incoming.accept().await.unwrap().accept();
    (session, ours, theirs, (from_far, peer, incoming))
}

#[test]
fn mx41_a_session_that_rests_gives_its_buffers_back() {
    let runtime = runtime();
    let (_, mut ends) = left_by(|| runtime.block_on(connected()));
    let load = |ends: &mut (Session, Stream, Stream, (Incoming, Session, Incoming))| {
        runtime.block_on(async {
            let piece = vec![1; 60_000];
            for _ in 0..100 {
                let mut out = vec![0; 120_000];
                let write = async {
                    for half in piece.chunks(7_000) {
                        ends.1.write_all(half).await.unwrap();
                    }
                    ends.1.write_all(&piece).await.unwrap();
                };
                let (_, read) = tokio::join!(write, ends.2.read_exact(&mut out));
                read.unwrap();
            }
        });
    };
    let (grown, ()) = left_by(|| load(&mut ends));
    assert!(grown > 400 * KIB, "there is something to give back: {grown}");
    let (given_back, ()) =
        left_by(|| runtime.block_on(async { tokio::time::sleep(Duration::from_secs(60)).await }));
    // The pipe of the test keeps what it has grown to.
    let kept = grown + given_back;
    assert!(kept < 280 * KIB, "{kept} octets of {grown} are kept");
    // And it goes on as before.
    load(&mut ends);
}

#[test]
fn regression_mx10_relays_whose_sockets_stand_still_hold_octets_and_no_buffers() {
    let runtime = runtime();
    let (_session, mut sink, mut sink_there, keep) = runtime.block_on(connected());
    let (mut piped, mut socket) = runtime.block_on(async {
        let mut incoming = keep;
        let ours = _session.open(Bytes::new()).await.unwrap();
        let theirs = incoming.2.accept().await.unwrap().accept();
        let (near, far) = duplex(1);
        tokio::spawn(relay(theirs, near, RelayOptions::new()));
        std::mem::forget(incoming);
        (ours, far)
    });
    // Few octets for the relay, each time in another read buffer that others fill.
    let mut rounds = |relayed: usize| {
        runtime.block_on(async {
            let (filler, mut out) = (vec![1; 600_000], vec![0; 600_000]);
            for _ in 0..16 {
                piped.write_all(&vec![2; relayed]).await.unwrap();
                let (sent, read) = tokio::join!(sink.write_all(&filler), sink_there.read_exact(&mut out));
                sent.unwrap();
                read.unwrap();
            }
        });
    };
    rounds(0);
    let (_, ()) = left_by(|| rounds(0));
    let (grown, ()) = left_by(|| rounds(2_000));
    let wait = || runtime.block_on(async { tokio::time::sleep(Duration::from_secs(1)).await });
    let (given_back, ()) = left_by(wait);
    let held = grown + given_back;
    assert!(held < 1_300 * KIB, "{held} octets are held for 32,000, {grown} at first");
    let mut got = vec![0; 32_000];
    runtime.block_on(socket.read_exact(&mut got)).unwrap();
    assert_eq!(got, [2; 32_000]);
}
