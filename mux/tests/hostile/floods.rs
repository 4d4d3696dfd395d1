//! What a peer can repeat has a budget, and honest traffic stays below it.

use super::SECOND;
use super::common::*;
use adit_mux::{Abuse, Allowance, Config, SessionEnd, StreamError, Timeout, Violation};
use adit_wire_proto::CloseCode;
use adit_wire_proto::frame::{Frame, FrameHeader, FrameKind};
use bytes::Bytes;
use std::time::Duration;

/// CVE-2023-44487 (Rapid Reset).
#[test]
fn mx06_m04_rapid_reset_stays_charged_until_the_acceptor_is_done() {
    let mut victim = Scripted::new(Config::default().max_peer_streams(100));
    let (opened, code) =
        victim.send_until_closed(100_000, |round| vec![open(round * 2 + 1), reset(round * 2 + 1)]);
    assert_eq!((opened, code), (100, Some(CloseCode::STREAM_LIMIT)), "nobody accepted, so nothing came free");
}

#[test]
fn mx06_m04_rapid_reset_against_a_fast_acceptor_is_bound_by_the_refill() {
    let config = Config::default().max_peer_streams(100).opens_per_second(1_000);
    let mut victim = Scripted::new(config.rapid_resets(Allowance::new(100_000, 0)));
    let mut opened = 0;
    for round in 0..100_000_u32 {
        if victim.send(&[open(round * 2 + 1), reset(round * 2 + 1)]).is_err() {
            break;
        }
        opened += 1;
        let key = victim.accept();
        victim.core.release_send(key);
        victim.core.release_recv(key);
        victim.sent();
    }
    assert!(opened <= 1_101, "{opened} streams in no time");
    assert_eq!(victim.core.open_streams(), 0);
}

#[test]
fn m04_rapid_reset_against_a_fast_acceptor_ends_the_session_however_fast_streams_come_back() {
    let mut victim = Scripted::new(Config::default().max_peer_streams(100).opens_per_second(1_000_000));
    let mut rounds = 0..10_000_u32;
    let end = rounds.find_map(|round| {
        let end = victim.send(&[open(round * 2 + 1), reset(round * 2 + 1)]).err();
        if let Some(key) = victim.core.next_incoming() {
            victim.core.accept(key);
            victim.core.release_send(key);
            victim.core.release_recv(key);
        }
        victim.pass(Duration::from_micros(100));
        victim.sent();
        end
    });
    assert_eq!(end, Some(SessionEnd::Violation(Violation::Budget { what: Abuse::RapidResets })));
}

/// CVE-2025-8671 (MadeYouReset).
#[test]
fn mx07_m05_resets_that_a_peer_provokes_have_a_budget() {
    let mut victim = Scripted::new(
        Config::default().forced_resets(Allowance::new(50, 0)).drain(Duration::ZERO, 30 * SECOND),
    );
    victim.send(&[open(1)]).unwrap();
    victim.core.drain(victim.now, CloseCode::DRAINING, Bytes::new());
    victim.sent();
    victim.pass(SECOND);
    victim.sent();
    let (taken, code) = victim.send_until_closed(1_000, |round| vec![open(round * 2 + 3)]);
    assert_eq!((taken, code), (50, Some(CloseCode::ENHANCE_CALM)));
}

#[test]
fn mx14_m12_single_octets_to_a_slow_reader_cost_memory_by_the_octet_and_have_a_budget() {
    let config = Config::default().small_data(Allowance::new(5_000, 1)).max_peer_streams(100_000);
    let mut victim = Scripted::new(config);
    victim.send(&[open(1)]).unwrap();
    let key = victim.accept();
    victim.send(&(0..5_000).map(|_| data(1, 1)).collect::<Vec<_>>()).unwrap();
    assert_eq!((victim.sent(), victim.core.stats().unread_bytes), (vec![], 5_000));
    // The next one is too many: the stream is given up, and what it held is free again.
    victim.send(&[data(1, 1)]).unwrap();
    let code = CloseCode::ENHANCE_CALM;
    assert_eq!(victim.sent(), [Frame::Reset { id: 1, code }, Frame::Stop { id: 1, code }]);
    assert_eq!((victim.core.stats().unread_bytes, victim.core.stats().small_data_breaches), (0, 1));
    assert_eq!(victim.core.read(key, &mut [0; 8]), Err(StreamError::Ended));
    // Who goes on like that loses the session.
    let mut next = 3;
    let (streams, code) = victim.send_until_closed(5_000, |_| {
        let mut frames = vec![open(next)];
        frames.extend((0..6_100).map(|_| data(next, 1)));
        next += 2;
        frames
    });
    assert!((1_000..1_100).contains(&streams), "{streams}");
    assert_eq!(code, Some(CloseCode::ENHANCE_CALM));
}

#[test]
fn mx14_a_visitor_who_floods_ends_its_own_stream_and_nobody_elses() {
    let mut victim = Scripted::new(Config::default());
    victim.send(&[open(1), open(3), open(5)]).unwrap();
    let quiet = victim.accept();
    // Two streams that nobody reads, whose windows a visitor fills octet by octet.
    for id in [3, 5] {
        for _ in 0..64 {
            victim.send(&(0..1_000).map(|_| data(id, 1)).collect::<Vec<_>>()).unwrap();
        }
    }
    victim.send(&[data(1, 1)]).unwrap();
    let resets = victim.sent().into_iter().filter(|frame| matches!(frame, Frame::Reset { id: 3 | 5, .. }));
    assert_eq!(resets.count(), 1);
    assert_eq!(victim.core.read(quiet, &mut [0; 8]), Ok(Some(1)));
    assert_eq!(victim.core.end(), None);
}

#[test]
fn mx14_single_octets_that_are_read_cost_nothing() {
    let mut victim = Scripted::new(Config::default().small_data(Allowance::new(1_000, 1)));
    victim.send(&[open(1)]).unwrap();
    let key = victim.accept();
    for _ in 0..20_000 {
        victim.send(&[data(1, 1)]).unwrap();
        assert_eq!(victim.core.read(key, &mut [0; 8]), Ok(Some(1)));
        victim.sent();
    }
}

#[test]
fn regression_mx14_a_reader_that_lags_a_little_spends_no_budget() {
    // The queue is never empty: so many frames of so many octets are always unread.
    for (length, behind) in [(1, 1), (63, 1), (63, 40), (1, 900)] {
        let mut victim = Scripted::new(Config::default());
        victim.send(&[open(1)]).unwrap();
        let key = victim.accept();
        victim.send(&vec![data(1, length); behind]).unwrap();
        for _ in 0..120_000 {
            victim.send(&[data(1, length)]).unwrap();
            let taken = victim.core.read(key, &mut [0; 63][..length]);
            assert_eq!(taken, Ok(Some(length)), "{behind} frames of {length} behind");
            victim.sent();
        }
        assert_eq!(victim.core.stats().small_data_breaches, 0);
    }
}

#[test]
fn mx16_m22_a_flood_of_pings_is_owed_one_answer_and_then_ends() {
    let mut victim = Scripted::new(Config::default());
    let pings: Vec<_> = (1..=500).map(|sequence| Frame::Ping { sequence, ack: false }).collect();
    victim.send(&pings).unwrap();
    assert_eq!(victim.sent(), [Frame::Ping { sequence: 500, ack: true }]);
    let (taken, code) = victim.send_until_closed(100_000, |round| {
        vec![Frame::Ping { sequence: 501 + u64::from(round), ack: false }]
    });
    assert!(taken < 2_000, "{taken}");
    assert_eq!(code, Some(CloseCode::ENHANCE_CALM));
}

#[test]
fn mx17_a_peer_that_reads_nothing_gets_bounded_output_and_then_an_end() {
    let mut victim = Scripted::new(Config::default());
    victim.send(&[open(1)]).unwrap();
    let key = victim.accept();
    // Nothing is ever taken from this batch.
    let mut batch = adit_mux::Batch::new();
    victim.core.write(key, &vec![0; 60_000]).unwrap();
    victim.core.poll_transmit(victim.now, &mut batch);
    victim.core.wrote(victim.now, 0, true);
    let stuck = batch.len();
    for round in 0..400 {
        victim.send(&[Frame::Ping { sequence: round + 1, ack: false }]).unwrap();
    }
    victim.core.poll_transmit(victim.now, &mut batch);
    assert_eq!(batch.len(), stuck + 16, "one pong for all the pings");
    victim.pass(29 * SECOND);
    victim.send(&[Frame::Ping { sequence: 1_000, ack: false }]).unwrap();
    assert_eq!(victim.core.end(), None);
    victim.pass(2 * SECOND);
    assert_eq!(victim.core.end(), Some(&SessionEnd::TimedOut { which: Timeout::WriteStall }));
}

#[test]
fn regression_goaways_that_repeat_have_a_budget() {
    let goaway = |last_id, heads_up| Frame::GoAway {
        last_id,
        code: CloseCode::DRAINING,
        reason: Bytes::new(),
        heads_up,
    };
    for (first, later) in
        [(goaway(u32::MAX, true), goaway(u32::MAX, true)), (goaway(0, false), goaway(0, false))]
    {
        let mut victim = Scripted::new(Config::default());
        victim.send(&[first]).unwrap();
        let (taken, code) = victim.send_until_closed(100_000, |_| vec![later.clone()]);
        assert_eq!((taken, code), (1_000, Some(CloseCode::ENHANCE_CALM)));
    }
}

#[test]
fn mx44_honest_traffic_spends_no_budget() {
    let mut pair = Pair::connected(Config::default());
    pair.latency = Duration::from_millis(5);
    let mut out = vec![0; 65_536];
    let end = pair.now + 20 * SECOND;
    let (ssh, far_ssh) = pair.open();
    let mut calls = Vec::new();
    while pair.now < end {
        // Keystrokes and their echo.
        let _ = pair.dialler.write(ssh, b"k");
        while let Ok(Some(1..)) = pair.listener.read(far_ssh, &mut out) {
            let _ = pair.listener.write(far_ssh, b"k");
        }
        while let Ok(Some(1..)) = pair.dialler.read(ssh, &mut out) {}
        // A thousand short calls a second, a tenth of which the caller abandons.
        if let Ok(Some(key)) = pair.dialler.open(Bytes::from_static(b"head")) {
            let _ = pair.dialler.write(key, &[0; 200]);
            let _ = pair.dialler.finish_stream(key);
            calls.push((key, pair.now));
        }
        while let Some(key) = pair.listener.next_incoming() {
            pair.listener.accept(key);
            let _ = pair.listener.read(key, &mut out);
            let _ = pair.listener.write(key, &[0; 300]);
            let _ = pair.listener.finish_stream(key);
            pair.listener.release_send(key);
            pair.listener.release_recv(key);
        }
        let (now, mut at) = (pair.now, 0);
        calls.retain(|(key, since)| {
            at += 1;
            let is_done = now - *since > Duration::from_millis(if at % 10 == 0 { 1 } else { 15 });
            if is_done {
                let _ = pair.dialler.read(*key, &mut [0; 400]);
                pair.dialler.release_send(*key);
                pair.dialler.release_recv(*key);
            }
            !is_done
        });
        pair.pass(Duration::from_millis(1));
        while pair.dialler.poll_event().is_some() {}
        while pair.listener.poll_event().is_some() {}
    }
    for core in [&pair.dialler, &pair.listener] {
        assert_eq!((core.end(), core.stats().budget_breaches), (None, 0));
    }
    assert!(pair.listener.stats().streams_accepted > 5_000);
}

#[test]
fn every_budget_has_its_own_error() {
    let none = Allowance::new(0, 0);
    let spent = |config: Config, frames: &[Frame]| {
        let mut victim = Scripted::new(config);
        let end = victim.send(frames);
        let stats = victim.core.stats();
        let counters = [
            stats.useless_frame_breaches,
            stats.small_data_breaches,
            stats.forced_reset_breaches,
            stats.rapid_reset_breaches,
            stats.ping_breaches,
        ];
        assert_eq!(counters.iter().sum::<u64>(), stats.budget_breaches);
        (end.map_err(|end| end.close_code()), counters)
    };
    let calm = Err(CloseCode::ENHANCE_CALM);
    let pad = Frame::Pad { length: 0 };
    assert_eq!(spent(Config::default().useless_frames(none), &[pad]), (calm, [1, 0, 0, 0, 0]));
    let mut flood = vec![open(1)];
    flood.extend((0..1_025).map(|_| data(1, 1)));
    assert_eq!(spent(Config::default().small_data(none), &flood), (Ok(()), [0, 1, 0, 0, 0]));
    let config = Config::default().small_data(none).forced_resets(none);
    assert_eq!(spent(config, &flood), (calm, [0, 1, 1, 0, 0]));
    let pings: Vec<_> = (1..=2_001).map(|sequence| Frame::Ping { sequence, ack: false }).collect();
    assert_eq!(spent(Config::default(), &pings), (calm, [0, 0, 0, 0, 1]));
    let config = || Config::default().rapid_resets(none);
    assert_eq!(spent(config(), &[open(1), reset(1)]), (calm, [0, 0, 0, 1, 0]));
    assert_eq!(spent(config(), &[open(1), data(1, 1), reset(1)]), (Ok(()), [0; 5]));
    let mut victim = Scripted::new(Config::default().useless_frames(none));
    let error = victim.send(&[Frame::Pad { length: 0 }]).unwrap_err();
    assert_eq!(error, SessionEnd::Violation(Violation::Budget { what: Abuse::UselessFrames }));
    // Reserved flag bits mean nothing yet.
    let mut victim = Scripted::new(Config::default());
    let mut ping = FrameHeader::new(FrameKind::PING, 0xfe, 8, 0).encode().to_vec();
    ping.extend_from_slice(&1_u64.to_be_bytes());
    victim.send_octets(&ping).unwrap();
    assert_eq!(victim.sent(), [Frame::Ping { sequence: 1, ack: true }]);
}
