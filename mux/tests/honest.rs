//! Honest traffic of the kinds that tunnels carry, each against budgets a tenth as large as the default ones (mx44):
//! none is spent.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and owns its clock")]

mod common;

use adit_mux::{Allowance, Config, StreamKey};
use bytes::Bytes;
use common::Pair;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Two ends whose budgets are a tenth of the default.
fn strict() -> Pair {
    let config = Config::default()
        .useless_frames(Allowance::new(100, 10))
        .small_data(Allowance::new(10_000, 2_000))
        .forced_resets(Allowance::new(100, 1));
    let mut pair = Pair::connected(config);
    pair.latency = 10 * MILLISECOND;
    pair
}

/// Nobody spent anything, and both sessions live.
fn is_far_below(pair: &Pair) {
    for core in [&pair.dialler, &pair.listener] {
        assert_eq!((core.end(), core.stats().budget_breaches), (None, 0));
    }
}

fn events(pair: &mut Pair) {
    while pair.dialler.poll_event().is_some() {}
    while pair.listener.poll_event().is_some() {}
}

fn read_all(core: &mut adit_mux::Connection, key: StreamKey) -> usize {
    let (mut out, mut total) = (vec![0; 65_536], 0);
    while let Ok(Some(read @ 1..)) = core.read(key, &mut out) {
        total += read;
    }
    total
}

/// Lets a millisecond pass, however many things happen in it.
fn tick(pair: &mut Pair) {
    let until = pair.now + MILLISECOND;
    while pair.now < until {
        pair.pass(until - pair.now);
    }
    events(pair);
}

#[test]
fn mx44_ssh_with_forty_sessions_of_keystrokes_spends_no_budget() {
    let mut pair = strict();
    let shells: Vec<_> = (0..40).map(|_| pair.open()).collect();
    let end = pair.now + 10 * SECOND;
    let mut echoed = 0;
    let mut turn = 0_usize;
    while pair.now < end {
        turn += 1;
        // Everybody types ten keys a second, and one shell prints a screen now and then.
        for (at, (near, far)) in shells.iter().enumerate() {
            if (turn + at).is_multiple_of(100) {
                pair.dialler.write(*near, b"k").unwrap();
            }
            let keys = read_all(&mut pair.listener, *far);
            if keys > 0 {
                pair.listener.write(*far, &vec![b'k'; keys]).unwrap();
            }
            if (turn + at).is_multiple_of(3_000) {
                pair.listener.write(*far, &[b' '; 4_000]).unwrap();
            }
            echoed += read_all(&mut pair.dialler, *near);
        }
        tick(&mut pair);
    }
    assert!(echoed > 40 * 90, "{echoed}");
    is_far_below(&pair);
}

#[test]
fn mx44_grpc_with_calls_that_are_abandoned_spends_no_budget() {
    let mut pair = strict();
    let end = pair.now + 10 * SECOND;
    let (mut calls, mut made) = (Vec::new(), 0_usize);
    while pair.now < end {
        // Five hundred calls a second; a tenth are given up before the answer, with frames of theirs under way.
        for _ in 0..1 {
            if pair.now.duration_since(end - 10 * SECOND).as_millis().is_multiple_of(2)
                && let Ok(Some(key)) = pair.dialler.open(Bytes::from_static(b"head"))
            {
                made += 1;
                pair.dialler.write(key, &[0; 40]).unwrap();
                pair.dialler.finish_stream(key).unwrap();
                calls.push((key, pair.now + if made.is_multiple_of(10) { 15 } else { 50 } * MILLISECOND));
            }
        }
        while let Some(key) = pair.listener.next_incoming() {
            pair.listener.accept(key);
            read_all(&mut pair.listener, key);
            pair.listener.write(key, &[0; 30]).unwrap();
            pair.listener.write(key, &[0; 20]).unwrap();
            let _ = pair.listener.finish_stream(key);
            pair.listener.release_send(key);
            pair.listener.release_recv(key);
        }
        let now = pair.now;
        let (over, rest) = calls.into_iter().partition(|(_, until)| *until <= now);
        calls = rest;
        let over: Vec<(StreamKey, _)> = over;
        for (key, _) in over {
            read_all(&mut pair.dialler, key);
            pair.dialler.release_send(key);
            pair.dialler.release_recv(key);
        }
        tick(&mut pair);
    }
    assert!(made > 2_000, "{made}");
    is_far_below(&pair);
}

#[test]
fn mx44_a_chat_with_readers_that_fall_asleep_spends_no_budget() {
    let mut pair = strict();
    let rooms: Vec<_> = (0..100).map(|_| pair.open()).collect();
    let end = pair.now + 10 * SECOND;
    let (mut turn, mut got) = (0_usize, 0);
    while pair.now < end {
        turn += 1;
        for (at, (near, far)) in rooms.iter().enumerate() {
            // Short messages; every tenth reader sleeps for half of five seconds.
            if (turn + 7 * at).is_multiple_of(200) {
                pair.dialler.write(*near, b"{\"text\":\"hello\"}").unwrap();
            }
            let sleeps = at.is_multiple_of(10) && (turn / 2_500) % 2 == 1;
            if !sleeps {
                got += read_all(&mut pair.listener, *far);
            }
        }
        tick(&mut pair);
    }
    assert!(got > 100 * 16 * 40, "{got}");
    is_far_below(&pair);
}

#[test]
fn mx44_video_with_viewers_that_seek_spends_no_budget() {
    let mut pair = strict();
    pair.rate = Some(12_500_000);
    let end = pair.now + 10 * SECOND;
    let (mut turn, mut got) = (0_usize, 0);
    let mut stream = pair.open();
    let block = vec![0; 65_536];
    while pair.now < end {
        turn += 1;
        while pair.listener.write(stream.1, &block).is_ok_and(|taken| taken > 0) {}
        // The viewer's buffer is full half of the time.
        if (turn / 300) % 2 == 0 {
            got += read_all(&mut pair.dialler, stream.0);
        }
        if turn.is_multiple_of(700) {
            // Seeking: the rest is not wanted, and a new request is made.
            pair.dialler.release_recv(stream.0);
            pair.dialler.release_send(stream.0);
            tick(&mut pair);
            pair.listener.release_send(stream.1);
            pair.listener.release_recv(stream.1);
            stream = pair.open();
        }
        tick(&mut pair);
    }
    assert!(got > 10_000_000, "{got}");
    is_far_below(&pair);
}

#[test]
fn mx44_sensors_that_send_octet_by_octet_spend_no_budget() {
    let mut pair = strict();
    let sensors: Vec<_> = (0..20).map(|_| pair.open()).collect();
    let end = pair.now + 10 * SECOND;
    let (mut sent, mut got) = (0, 0);
    while pair.now < end {
        for (near, far) in &sensors {
            sent += pair.dialler.write(*near, b"1").unwrap();
            got += read_all(&mut pair.listener, *far);
        }
        tick(&mut pair);
    }
    assert!(got > sent * 9 / 10, "{got} of {sent}");
    is_far_below(&pair);
}
