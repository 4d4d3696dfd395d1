//! What is held, as the allocator sees it: octets on the heap, not what our own counters say.
#![cfg(feature = "tokio")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail, and owns its tasks and clock"
)]

mod common;

use adit_mux::{Builder, Config, Incoming, RelayOptions, Role, Session, Stream, relay};
use adit_wire_proto::frame::FrameKind;
use allocation_counter::measure;
use bytes::Bytes;
use common::*;
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
    // Whichever side asks the other for a sign of life, and keeps it from asking: the jitter decides.
    (0..16).for_each(|_| a_session_that_rests_gives_its_buffers_back());
}

fn a_session_that_rests_gives_its_buffers_back() {
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
fn mx01_lengths_that_are_announced_reserve_nothing() {
    for (kind, length) in
        [(FrameKind::DATA, u16::MAX), (FrameKind::PAD, u16::MAX), (FrameKind::DATAGRAM, 16_376)]
    {
        let mut victim = Scripted::new(Config::default());
        victim.send(&[open(1)]).unwrap();
        let begun = header(kind, length, u32::from(kind != FrameKind::PAD));
        let (bytes, ()) = left_by(|| victim.send_octets(&begun).unwrap());
        assert!(bytes < KIB, "{bytes} octets");
    }
}

#[test]
fn mx06_m04_a_rapid_reset_never_holds_four_mebibytes() {
    let mut victim = Scripted::new(Config::default());
    let held = measure(|| {
        for at in 0..100_000 {
            if victim.send(&[open(at * 2 + 1), reset(at * 2 + 1)]).is_err() {
                break;
            }
            if at % 2 == 0 {
                let key = victim.accept();
                victim.core.release_send(key);
                victim.core.release_recv(key);
            }
            victim.events();
            victim.sent();
        }
    });
    assert!(held.bytes_max < 4 << 20, "{} octets", held.bytes_max);
}

#[test]
fn mx10_m34_a_thousand_full_windows_cost_what_is_in_them_and_little_more() {
    let mut victim = Scripted::new(Config::default().max_peer_streams(1_000));
    let (bytes, ()) = left_by(|| {
        for at in 0..1_000 {
            let id = at * 2 + 1;
            victim.send(&[open(id)]).unwrap();
            victim.accept();
            let full = [data(id, 16_376), data(id, 16_376), data(id, 16_376), data(id, 16_376), data(id, 32)];
            victim.send(&full).unwrap();
        }
    });
    let unread = i64::try_from(victim.core.stats().unread_bytes).unwrap();
    assert_eq!(unread, 1_000 * 65_536);
    // 4 KiB for what is kept of a stream, 4 KiB for the end of its last piece.
    assert!(bytes <= unread + 1_000 * 8 * KIB, "{bytes} octets for {unread}");
}

#[test]
fn mx14_m12_single_octets_that_nobody_reads_cost_less_than_four_windows() {
    let mut victim = Scripted::new(Config::default());
    victim.send(&[open(1)]).unwrap();
    victim.accept();
    let (bytes, ()) = left_by(|| (0..65_536).for_each(|_| victim.send(&[data(1, 1)]).unwrap()));
    assert_eq!(victim.core.stats().unread_bytes, 65_536);
    assert!(bytes < 2 * 64 * KIB, "{bytes} octets");
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
