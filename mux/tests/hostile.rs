//! The core against peers that break rules or bend them: one test for each numbered case.
#![allow(
    clippy::unwrap_used,
    clippy::as_conversions,
    clippy::disallowed_methods,
    reason = "a test may fail, owns its clock, and knows its numbers"
)]

mod common;

use adit_mux::{
    Abuse, Allowance, Budget, Config, DatagramError, Event, OpenError, Priority, Role, SessionEnd,
    StreamError, StreamKey, Timeout, Violation,
};
use adit_wire_proto::CloseCode;
use adit_wire_proto::frame::{Frame, FrameHeader, FrameKind};
use bytes::Bytes;
use common::*;
use std::sync::Arc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn ended_by(end: Result<(), SessionEnd>) -> CloseCode {
    end.unwrap_err().close_code()
}

#[test]
fn mx01_a_frame_that_never_ends_costs_nothing_and_times_out() {
    for kind in [FrameKind::DATA, FrameKind::PAD] {
        let mut victim = Scripted::new(Config::default());
        victim.send(&[open(1)]).unwrap();
        let id = u32::from(kind == FrameKind::DATA);
        victim.send_octets(&header(kind, u16::MAX, id)).unwrap();
        victim.pass(29 * SECOND);
        assert_eq!(victim.core.end(), None);
        victim.pass(2 * SECOND);
        assert_eq!(victim.core.end(), Some(&SessionEnd::TimedOut { which: Timeout::PartialFrame }));
        assert_eq!(victim.close_code(), Some(CloseCode::TIMEOUT));
    }
}

#[test]
fn mx01_a_frame_that_drips_octet_by_octet_times_out_as_well() {
    let mut victim = Scripted::new(Config::default());
    victim.send(&[open(1)]).unwrap();
    victim.send_octets(&header(FrameKind::DATA, u16::MAX, 1)).unwrap();
    for _ in 0..31 {
        let _ = victim.send_octets(&[0]);
        victim.pass(SECOND);
    }
    assert_eq!(victim.core.end(), Some(&SessionEnd::TimedOut { which: Timeout::PartialFrame }));
}

#[test]
fn mx02_the_first_frame_is_hello_and_comes_once() {
    let mut victim = Scripted::silent(Role::Listener, Config::default());
    assert_eq!(ended_by(victim.send(&[open(1)])), CloseCode::UNEXPECTED);
    let mut victim = Scripted::new(Config::default());
    assert_eq!(ended_by(victim.send(&[hello()])), CloseCode::UNEXPECTED);
    let mut victim = Scripted::silent(Role::Listener, Config::default());
    assert_eq!(ended_by(victim.send(&[data(1, 1)])), CloseCode::UNEXPECTED);
    let mut victim = Scripted::silent(Role::Listener, Config::default());
    assert_eq!(ended_by(victim.send_octets(&header(FrameKind::PAD, 0, 0))), CloseCode::UNEXPECTED);
}

#[test]
fn mx02_absurd_limits_are_taken_at_their_word_without_overflow() {
    let mut victim = Scripted::silent(Role::Dialler, Config::default());
    let Frame::Hello(mut hello) = hello() else { unreachable!() };
    (hello.max_streams, hello.stream_window) = (u32::MAX, u32::MAX);
    victim.send(&[Frame::Hello(hello)]).unwrap();
    let key = victim.core.open(Bytes::new()).unwrap().unwrap();
    assert!(victim.core.write(key, &[1; 100]).unwrap() == 100);
    assert!(!victim.sent().is_empty());
    victim.send(&[Frame::Streams { limit: u64::MAX }, Frame::Credit { id: 1, limit: u64::MAX }]).unwrap();
    assert!(victim.core.open(Bytes::new()).unwrap().is_some());
}

#[test]
fn mx03_m02_ids_come_strictly_in_order_from_the_right_side() {
    for ids in [vec![2], vec![3], vec![1, 1], vec![1, 5], vec![1, 3, 1], vec![u32::MAX]] {
        let mut victim = Scripted::new(Config::default());
        let frames: Vec<_> = ids.iter().map(|id| open(*id)).collect();
        let error = victim.send(&frames).unwrap_err();
        assert!(matches!(error, SessionEnd::Violation(Violation::StreamOrder { .. })), "{ids:?}: {error}");
        assert_eq!(victim.close_code(), Some(CloseCode::PROTOCOL));
    }
    let mut victim = Scripted::new(Config::default());
    assert_eq!(ended_by(victim.send_octets(&octets(&[open(0)]))), CloseCode::PROTOCOL);
}

#[test]
fn mx04_m03_an_open_over_the_limit_makes_no_state() {
    let mut victim = Scripted::new(Config::default().max_peer_streams(10));
    let frames: Vec<_> = (0..10).map(|at| open(at * 2 + 1)).collect();
    victim.send(&frames).unwrap();
    assert_eq!(ended_by(victim.send(&[open(21)])), CloseCode::STREAM_LIMIT);
    assert_eq!(victim.core.stats().streams_accepted, 10);
}

#[test]
fn mx05_m28_open_with_more_data_than_the_window_is_a_flow_control_error() {
    let mut victim = Scripted::new(Config::default());
    let mut frames = vec![open(1)];
    frames.extend((0..5).map(|_| data(1, 16_376)));
    assert_eq!(ended_by(victim.send(&frames)), CloseCode::FLOW_CONTROL);
    let mut victim = Scripted::new(Config::default());
    victim.send(&[open(1)]).unwrap();
    assert_eq!(ended_by(victim.send_octets(&header(FrameKind::OPEN, 4101, 3))), CloseCode::FRAME_TOO_LARGE);
}

#[test]
fn mx06_m04_rapid_reset_stays_charged_until_the_acceptor_is_done() {
    let mut victim = Scripted::new(Config::default().max_peer_streams(100));
    let (opened, code) =
        victim.send_until_closed(100_000, |round| vec![open(round * 2 + 1), reset(round * 2 + 1)]);
    assert_eq!((opened, code), (100, Some(CloseCode::STREAM_LIMIT)), "nobody accepted, so nothing came free");
}

#[test]
fn mx06_m04_rapid_reset_against_a_fast_acceptor_is_bound_by_the_refill() {
    let mut victim = Scripted::new(Config::default().max_peer_streams(100).opens_per_second(1_000));
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
fn mx08_streams_that_nobody_accepts_block_nobody_else() {
    let mut victim = Scripted::new(Config::default().max_peer_streams(3));
    victim.send(&[open(1)]).unwrap();
    let busy = victim.accept();
    victim.send(&[open(3), open(5), data(1, 5)]).unwrap();
    let mut out = [0; 8];
    assert_eq!(victim.core.read(busy, &mut out), Ok(Some(5)));
    assert!(victim.sent().iter().all(|frame| !matches!(frame, Frame::Reset { .. } | Frame::Streams { .. })));
}

#[test]
fn mx08_the_opener_waits_for_stream_credit() {
    let mut pair = Pair::connected(Config::default().max_peer_streams(2));
    let first = pair.dialler.open(Bytes::new()).unwrap().unwrap();
    pair.dialler.open(Bytes::new()).unwrap().unwrap();
    assert_eq!(pair.dialler.open(Bytes::new()), Ok(None));
    pair.settle();
    let far = pair.listener.next_incoming().unwrap();
    pair.listener.refuse(far, CloseCode::REFUSED);
    pair.dialler.release_send(first);
    pair.dialler.release_recv(first);
    pair.settle();
    assert!(pair.dialler.open(Bytes::new()).unwrap().is_some());
}

#[test]
fn mx09_m09_a_stream_that_is_not_read_holds_its_window_and_stops_nobody() {
    let mut pair = Pair::connected(Config::default());
    let (unread, _far) = pair.open();
    let (busy, far) = pair.open();
    let block = vec![1; 64 * 1024];
    let (mut read, mut stuck) = (0, 0);
    for _ in 0..200 {
        stuck += pair.dialler.write(unread, &block).unwrap();
        pair.dialler.write(busy, &block).unwrap();
        pair.settle();
        let mut out = vec![0; 64 * 1024];
        while let Ok(Some(bytes)) = pair.listener.read(far, &mut out) {
            read += bytes;
        }
        pair.settle();
    }
    assert!(read >= 200 * 64 * 1024 - 256 * 1024, "the busy stream moved {read}");
    assert!(
        stuck <= 64 * 1024 + 256 * 1024,
        "the unread stream took {stuck}: its window and its send buffer"
    );
}

#[test]
fn mx10_m34_a_thousand_unread_streams_hold_no_more_than_was_promised() {
    let mut victim = Scripted::new(Config::default().max_peer_streams(1_000));
    for at in 0..1_000 {
        victim.send(&[open(at * 2 + 1)]).unwrap();
        victim.accept();
        let id = at * 2 + 1;
        victim
            .send(&[data(id, 16_376), data(id, 16_376), data(id, 16_376), data(id, 16_376), data(id, 32)])
            .unwrap();
    }
    // All windows are full. Control still goes through, and nobody was promised more than the pool.
    victim.send(&[Frame::Ping { sequence: 1, ack: false }]).unwrap();
    assert_eq!(victim.sent(), [Frame::Ping { sequence: 1, ack: true }]);
    assert_eq!(ended_by(victim.send(&[data(1, 1)])), CloseCode::FLOW_CONTROL);
}

#[test]
fn mx10_new_streams_get_the_floor_when_the_pool_is_empty() {
    let mut victim = Scripted::silent(Role::Dialler, Config::default().pool(0));
    victim.send(&[hello()]).unwrap();
    victim.core.open(Bytes::new()).unwrap().unwrap();
    let opens: Vec<_> =
        victim.sent().into_iter().filter(|frame| matches!(frame, Frame::Open { .. })).collect();
    let credit = Config::FLOOR_BYTES;
    assert_eq!(opens, [Frame::Open { id: 1, credit, head: Bytes::new(), fin: false }]);
}

#[test]
fn mx11_m06_exactly_the_limit_is_fine_and_one_more_is_not() {
    let mut victim = Scripted::new(Config::default().hello_window(16 * 1024));
    victim.send(&[open(1), data(1, 16_376), data(1, 8)]).unwrap();
    assert_eq!(ended_by(victim.send(&[data(1, 1)])), CloseCode::FLOW_CONTROL);
}

#[test]
fn mx12_m07_credit_that_falls_repeats_or_is_huge_does_no_harm() {
    let mut victim = Scripted::new(Config::default());
    victim.send(&[open(1)]).unwrap();
    let key = victim.accept();
    let credit = |limit| Frame::Credit { id: 1, limit };
    victim.send(&[credit(10), credit(0), credit(u64::MAX), credit(u64::MAX), credit(7)]).unwrap();
    assert_eq!(victim.core.stats().useless_frames, 4);
    victim.core.write(key, &[1; 1000]).unwrap();
    assert!(matches!(&victim.sent()[..], [Frame::Data { payload, .. }] if payload.len() == 1000));
}

#[test]
fn mx13_credit_in_crumbs_makes_no_crumbs_of_frames() {
    let mut victim = Scripted::new(Config::default());
    victim.send(&[Frame::Open { id: 1, credit: 0, head: Bytes::new(), fin: false }]).unwrap();
    let key = victim.accept();
    victim.core.write(key, &[1; 10_000]).unwrap();
    for limit in 1..=500 {
        victim.send(&[Frame::Credit { id: 1, limit }]).unwrap();
        assert!(victim.sent().is_empty());
    }
    // But nobody waits forever for a peer that has no more to give.
    victim.pass(Duration::from_millis(150));
    assert!(matches!(&victim.sent()[..], [Frame::Data { payload, .. }] if payload.len() == 500));
}

#[test]
fn regression_mx13_a_writer_is_woken_once_half_of_its_buffer_is_free() {
    let mut victim = Scripted::new(Config::default().send_buffer(8_192));
    victim.send(&[Frame::Open { id: 1, credit: 3_000, head: Bytes::new(), fin: false }]).unwrap();
    let key = victim.accept();
    assert_eq!(victim.core.write(key, &[1; 10_000]), Ok(8_192));
    assert_eq!(victim.core.write(key, &[1; 1]), Ok(0));
    victim.events();
    victim.pass(Duration::from_millis(150));
    assert!(matches!(&victim.sent()[..], [Frame::Data { payload, .. }] if payload.len() == 3_000));
    // There is room, but too little for frames worth their header.
    assert_eq!(victim.events(), []);
    victim.send(&[Frame::Credit { id: 1, limit: 20_000 }]).unwrap();
    assert_eq!(victim.core.unsent(key), 5_192);
    victim.sent();
    assert_eq!(victim.events(), [Event::Writable(key)]);
}

#[test]
fn many_streams_share_what_may_wait_to_be_sent() {
    let mut ours = Scripted::greeted(Config::default());
    let keys: Vec<_> = (0..200).map(|_| ours.core.open(Bytes::new()).unwrap().unwrap()).collect();
    let mut queued: Vec<usize> = Vec::new();
    for key in &keys {
        let mut all = 0;
        while let Ok(taken @ 1..) = ours.core.write(*key, &[1; 10_000]) {
            all += taken;
        }
        queued.push(all);
    }
    assert_eq!(queued[0], 256 * 1024, "one alone has its whole buffer");
    assert!(queued.is_sorted_by(|one, next| one >= next) && queued[199] == 32 * 1024, "{queued:?}");
    assert!(queued.iter().sum::<usize>() <= 1024 * 1024 + 200 * 32 * 1024);
    // Who was cut short is woken as its queue drains, however full the others are.
    ours.events();
    let frames = ours.sent();
    assert!(frames.len() > 200);
    let woken = ours.events();
    for key in keys {
        assert!(ours.core.unsent(key) > 0 || woken.contains(&Event::Writable(key)));
    }
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
fn mx10_m34_whole_frames_do_not_pin_the_buffers_they_came_in() {
    let mut victim = Scripted::new(Config::default());
    let mut buffers = Vec::new();
    for id in (1..2_000).step_by(2) {
        victim.send(&[open(id)]).unwrap();
        // One frame each, of which the peer may have put any amount of other things into the same buffer.
        let buffer = Bytes::from(octets(&[data(id, 16_376)]));
        victim.core.receive(victim.now, buffer.clone()).unwrap();
        buffers.push(buffer);
    }
    let pinned = buffers.iter().filter(|buffer| !buffer.is_unique()).count();
    assert!(pinned * 16_376 <= 2 * 1024 * 1024 && pinned > 100, "{pinned}");
    assert_eq!(victim.core.stats().unread_bytes, 1_000 * 16_376);
    // What is read may be a slice again.
    for _ in 0..1_000 {
        let key = victim.accept();
        assert!(victim.core.read_chunk(key, usize::MAX).unwrap().is_some());
        victim.core.release_send(key);
        victim.core.release_recv(key);
    }
    assert!(buffers.iter().all(Bytes::is_unique));
    victim.sent();
    victim.send(&[open(2_001)]).unwrap();
    let buffer = Bytes::from(octets(&[data(2_001, 16_376)]));
    victim.core.receive(victim.now, buffer.clone()).unwrap();
    assert!(!buffer.is_unique());
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
fn mx15_m11_empty_data_without_fin_ends_the_session_at_once() {
    let mut victim = Scripted::new(Config::default());
    victim.send(&[open(1)]).unwrap();
    assert_eq!(ended_by(victim.send_octets(&header(FrameKind::DATA, 0, 1))), CloseCode::MALFORMED);
}

#[test]
fn mx15_our_sender_never_says_nothing() {
    let mut victim = Scripted::new(Config::default());
    victim.send(&[open(1)]).unwrap();
    let key = victim.accept();
    victim.core.write(key, &[]).unwrap();
    assert!(victim.core.write_chunk(key, Bytes::new()).unwrap());
    assert!(victim.sent().is_empty());
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
fn mx19_m01_m13_data_after_the_end_ends_the_session() {
    for end in [fin(1), reset(1)] {
        for after in [data(1, 1), fin(1)] {
            let mut victim = Scripted::new(Config::default());
            victim.send(&[open(1), end.clone()]).unwrap();
            assert_eq!(ended_by(victim.send(&[after])), CloseCode::STREAM_CLOSED);
        }
    }
    let mut victim = Scripted::new(Config::default());
    assert_eq!(ended_by(victim.send(&[data(1, 1)])), CloseCode::PROTOCOL, "never opened");
}

#[test]
fn mx19_m08_credit_and_stop_for_a_closed_stream_are_ignored() {
    let mut victim = Scripted::new(Config::default());
    victim.send(&[open(1), fin(1)]).unwrap();
    let key = victim.accept();
    victim.core.finish_stream(key).unwrap();
    victim.sent();
    victim.core.release_send(key);
    victim.core.release_recv(key);
    assert_eq!(victim.core.open_streams(), 0);
    victim.send(&[Frame::Credit { id: 1, limit: 1 << 40 }, stop(1), reset(1)]).unwrap();
    assert_eq!(victim.core.stats().late_frames, 3);
    assert_eq!(ended_by(victim.send(&[stop(3)])), CloseCode::PROTOCOL, "never opened");
}

#[test]
fn mx20_fin_reset_and_stop_crossing_in_every_order_end_the_same_on_both_sides() {
    #[derive(Clone, Copy, Debug)]
    enum Act {
        Finish,
        Reset,
        Stop,
    }
    const ACTS: [Act; 3] = [Act::Finish, Act::Reset, Act::Stop];
    let act = |core: &mut adit_mux::Connection, key, act| match act {
        Act::Finish => drop(core.finish_stream(key)),
        Act::Reset => core.reset(key, CloseCode::NONE),
        Act::Stop => core.stop(key, CloseCode::NONE),
    };
    for near_acts in ACTS.iter().flat_map(|a| ACTS.iter().map(move |b| [*a, *b])) {
        for far_acts in ACTS.iter().flat_map(|a| ACTS.iter().map(move |b| [*a, *b])) {
            for crossing in 0..4 {
                let mut pair = Pair::connected(Config::default());
                let (near, far) = pair.open();
                pair.dialler.write(near, b"near").unwrap();
                pair.listener.write(far, b"far").unwrap();
                for round in 0..2 {
                    act(&mut pair.dialler, near, near_acts[round]);
                    if crossing & 1 == 0 {
                        pair.settle();
                    }
                    act(&mut pair.listener, far, far_acts[round]);
                    if crossing & 2 == 0 {
                        pair.settle();
                    }
                }
                pair.settle();
                pair.dialler.release_send(near);
                pair.dialler.release_recv(near);
                pair.listener.release_send(far);
                pair.listener.release_recv(far);
                pair.settle();
                let case = format!("{near_acts:?} {far_acts:?} {crossing}");
                assert_eq!((pair.dialler.end(), pair.listener.end()), (None, None), "{case}");
                assert_eq!((pair.dialler.open_streams(), pair.listener.open_streams()), (0, 0), "{case}");
            }
        }
    }
}

#[test]
fn mx21_m10_stop_drops_what_is_queued_wakes_the_writer_and_gives_credit_back() {
    let mut pair = Pair::connected(Config::default());
    let all = pair.listener.stats().window_pool_left;
    let (near, far) = pair.open();
    while pair.dialler.write(near, &[0; 10_000]).unwrap() > 0 {}
    pair.settle();
    while pair.dialler.write(near, &[0; 10_000]).unwrap() > 0 {}
    while pair.dialler.poll_event().is_some() {}
    pair.listener.stop(far, CloseCode::UPSTREAM_RESET);
    pair.settle();
    let events: Vec<_> = std::iter::from_fn(|| pair.dialler.poll_event()).collect();
    assert!(events.contains(&Event::Writable(near)), "{events:?}");
    let code = CloseCode::UPSTREAM_RESET;
    assert_eq!(pair.dialler.write(near, b"x"), Err(StreamError::Stopped { code }));
    assert_eq!(pair.dialler.unsent(near), 0);
    pair.dialler.release_send(near);
    pair.dialler.release_recv(near);
    pair.listener.release_send(far);
    pair.listener.release_recv(far);
    pair.settle();
    assert_eq!(pair.listener.stats().window_pool_left, all);
    assert_eq!(pair.listener.open_streams(), 0);
}

#[test]
fn m10_the_pool_is_whole_again_after_every_way_a_stream_can_end() {
    for way in 0..5 {
        let mut pair = Pair::connected(Config::default());
        let pools =
            |pair: &Pair| (pair.dialler.stats().window_pool_left, pair.listener.stats().window_pool_left);
        let before = pools(&pair);
        let (near, far) = pair.open();
        pair.dialler.write(near, &[0; 50_000]).unwrap();
        pair.settle();
        assert_ne!(pools(&pair), before);
        match way {
            0 => pair.dialler.reset(near, CloseCode::NONE),
            1 => pair.listener.stop(far, CloseCode::NONE),
            2 => pair.listener.reset(far, CloseCode::NONE),
            3 => pair.dialler.finish_stream(near).unwrap(),
            _ => {}
        }
        pair.listener.release_recv(far);
        pair.listener.release_send(far);
        pair.settle();
        pair.dialler.release_recv(near);
        pair.dialler.release_send(near);
        pair.settle();
        assert_eq!(pools(&pair), before, "way {way}");
    }
}

#[test]
fn mx23_nothing_opens_or_accepts_after_the_end() {
    let mut victim = Scripted::new(Config::default());
    victim.send(&[open(1)]).unwrap();
    victim.core.close(CloseCode::TERMINATED, Bytes::new());
    assert!(matches!(victim.core.open(Bytes::new()), Err(OpenError::Session(_))));
    assert!(victim.send(&[open(3)]).is_err());
    let key = victim.core.next_incoming().unwrap();
    victim.core.accept(key);
    assert!(matches!(victim.core.read(key, &mut [0; 1]), Err(StreamError::Session(_))));
    assert!(matches!(victim.core.write(key, &[0; 1]), Err(StreamError::Session(_))));
    victim.core.release_send(key);
    victim.core.release_recv(key);
    assert_eq!(victim.core.open_streams(), 0);
}

#[test]
fn mx24_m16_streams_opened_into_a_drain_are_refused_and_safe_to_retry() {
    let mut pair = Pair::connected(Config::default());
    let (old, far) = pair.open();
    pair.listener.drain(pair.now, CloseCode::DRAINING, Bytes::from_static(b"redeploy"));
    pair.now += 6 * SECOND;
    pair.listener.handle_timeout(pair.now);
    // Opened before the news arrives.
    let late = pair.dialler.open(Bytes::new()).unwrap().unwrap();
    pair.dialler.write(late, b"hello").unwrap();
    pair.settle();
    assert_eq!(pair.dialler.read(late, &mut [0; 8]), Err(StreamError::Refused));
    assert_eq!(pair.dialler.write(late, b"x"), Err(StreamError::Refused));
    assert_eq!(pair.dialler.open(Bytes::new()), Err(OpenError::Draining));
    assert_eq!(pair.listener.end(), None);
    // The old one finishes in peace, and then the session closes.
    pair.dialler.write(old, b"bye").unwrap();
    pair.dialler.finish_stream(old).unwrap();
    pair.settle();
    assert_eq!(pair.listener.read(far, &mut [0; 8]), Ok(Some(3)));
    for core_key in [(true, old), (true, late), (false, far)] {
        let core = if core_key.0 { &mut pair.dialler } else { &mut pair.listener };
        core.release_send(core_key.1);
        core.release_recv(core_key.1);
    }
    pair.settle();
    let (code, reason) = (CloseCode::DRAINING, Bytes::from_static(b"redeploy"));
    assert_eq!(pair.dialler.end(), Some(&SessionEnd::Peer { code, reason }));
}

#[test]
fn mx25_m16_a_goaway_that_rises_or_names_what_never_was_ends_the_session() {
    let goaway =
        |last_id| Frame::GoAway { last_id, code: CloseCode::DRAINING, reason: Bytes::new(), heads_up: false };
    let dialler = || {
        let mut victim = Scripted::silent(Role::Dialler, Config::default());
        victim.send(&[hello()]).unwrap();
        for _ in 0..3 {
            victim.core.open(Bytes::new()).unwrap();
        }
        victim.sent();
        victim
    };
    assert_eq!(ended_by(dialler().send(&[goaway(7)])), CloseCode::PROTOCOL, "never opened");
    assert_eq!(ended_by(dialler().send(&[goaway(2)])), CloseCode::PROTOCOL, "not ours");
    assert_eq!(ended_by(dialler().send(&[goaway(3), goaway(5)])), CloseCode::PROTOCOL, "rises");
    dialler().send(&[goaway(5), goaway(3), goaway(1), goaway(0)]).unwrap();
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
fn m17_streams_left_when_the_drain_time_is_over_are_reset_with_shutdown() {
    let mut pair = Pair::connected(Config::default());
    let streams: Vec<_> = (0..3).map(|_| pair.open()).collect();
    pair.listener.drain(pair.now, CloseCode::DRAINING, Bytes::new());
    for _ in 0..40 {
        pair.now += SECOND;
        pair.dialler.handle_timeout(pair.now);
        pair.listener.handle_timeout(pair.now);
        pair.settle();
    }
    assert!(pair.listener.is_done() && pair.dialler.is_done());
    assert_eq!(pair.listener.stats().streams_cut_by_drain, 3);
    let code = CloseCode::SHUTDOWN;
    for (near, _) in streams {
        assert_eq!(pair.dialler.read(near, &mut [0; 1]), Err(StreamError::Reset { code }));
    }
}

#[test]
fn mx26_m20_a_session_drains_long_before_its_ids_run_out() {
    let mut pair = Pair::connected(Config::default().max_lifetime_opens(5));
    for _ in 0..5 {
        let (near, far) = pair.open();
        pair.dialler.release_send(near);
        pair.dialler.release_recv(near);
        pair.listener.release_send(far);
        pair.listener.release_recv(far);
    }
    assert_eq!(pair.dialler.open(Bytes::new()), Err(OpenError::Draining));
    for _ in 0..10 {
        pair.now += SECOND;
        pair.dialler.handle_timeout(pair.now);
        pair.settle();
    }
    assert!(pair.dialler.is_done() && pair.listener.is_done());
}

#[test]
fn mx27_a_peer_cannot_choose_ids_that_collide() {
    let mut victim = Scripted::new(Config::default());
    // Multiples of a power of two would be the start of an attack on a table; the second one is already refused.
    assert!(victim.send(&[open(1), open(1 + (1 << 16))]).is_err());
    assert_eq!(victim.core.open_streams(), 1);
}

#[test]
fn mx28_unknown_kinds_are_skipped_within_a_budget_or_end_the_session() {
    let mut victim = Scripted::new(Config::default());
    let skipped = Frame::Skipped { kind: FrameKind::from_u8(0x9f), length: 300 };
    victim.send(&[skipped.clone(), Frame::Pad { length: 7 }, open(1), skipped.clone(), data(1, 4)]).unwrap();
    let key = victim.accept();
    assert_eq!(victim.core.read(key, &mut [0; 8]), Ok(Some(4)));
    let (taken, code) = victim.send_until_closed(100_000, |_| vec![skipped.clone()]);
    assert!((900..=1_000).contains(&taken), "{taken}");
    assert_eq!(code, Some(CloseCode::ENHANCE_CALM));
    assert_eq!(victim.core.stats().budget_breaches, 1);
    let mut victim = Scripted::new(Config::default());
    assert_eq!(
        ended_by(victim.send_octets(&header(FrameKind::from_u8(0x1f), 0, 0))),
        CloseCode::UNKNOWN_FRAME
    );
}

#[test]
fn mx29_m15_a_cut_at_any_octet_wakes_all_and_leaves_what_came_readable() {
    let script = octets(&[open(1), data(1, 10), open(3), data(3, 600), data(1, 5), fin(1)]);
    for cut in 0..=script.len() {
        let mut victim = Scripted::new(Config::default());
        victim.send_octets(&script[..cut]).unwrap();
        let mut keys = Vec::new();
        while let Some(key) = victim.core.next_incoming() {
            victim.core.accept(key);
            keys.push(key);
        }
        let mut got: Vec<_> = keys.iter().map(|_| 0).collect();
        for (key, got) in keys.iter().zip(&mut got) {
            while let Ok(Some(bytes @ 1..)) = victim.core.read(*key, &mut [0; 7]) {
                *got += bytes;
            }
        }
        while victim.core.poll_event().is_some() {}
        victim.core.receive_end(SessionEnd::Cut);
        let events = victim.events();
        for (key, got) in keys.iter().zip(&got) {
            let is_whole = *got == 15 && cut == script.len();
            let end = victim.core.read(*key, &mut [0; 7]);
            if is_whole {
                assert_eq!(end, Ok(Some(0)));
            } else {
                assert!(events.contains(&Event::Readable(*key)), "cut at {cut}: {events:?}");
                assert_eq!(end, Err(StreamError::Session(SessionEnd::Cut)));
            }
        }
    }
}

#[test]
fn mx32_m21_a_keystroke_beside_bulk_waits_for_one_turn_on_a_slow_link() {
    let mut pair = Pair::connected(Config::default());
    pair.rate = Some(1_250_000);
    let (bulk, sink) = pair.open();
    let (keys, far_keys) = pair.open();
    let mut worst = Duration::ZERO;
    let mut sent_at = None;
    let end = pair.now + 3 * SECOND;
    let mut next = pair.now + SECOND;
    while pair.now < end {
        while pair.dialler.write(bulk, &[0; 16_384]).unwrap() > 0 {}
        if pair.now >= next && sent_at.is_none() {
            pair.dialler.write(keys, b"k").unwrap();
            sent_at = Some(pair.now);
        }
        pair.pass(Duration::from_millis(1));
        let mut out = vec![0; 65_536];
        while let Ok(Some(1..)) = pair.listener.read(sink, &mut out) {}
        if let Ok(Some(1)) = pair.listener.read(far_keys, &mut out) {
            worst = worst.max(pair.now - sent_at.take().unwrap());
            next = pair.now + Duration::from_millis(37);
        }
    }
    // The link itself holds one write of 20 kB (16 ms), and the core may have put one frame in front (13 ms).
    assert!(worst < Duration::from_millis(45), "{worst:?}");
    assert!(worst > Duration::ZERO);
}

#[test]
fn mx33_a_thousand_equal_streams_get_equal_shares() {
    let mut pair = Pair::connected(Config::default().max_peer_streams(1_000));
    pair.rate = Some(1_000_000_000);
    let streams: Vec<_> = (0..1_000).map(|_| pair.open()).collect();
    let mut got = vec![0_f64; streams.len()];
    let end = pair.now + Duration::from_millis(500);
    let block = vec![0; 65_536];
    let mut out = vec![0; 65_536];
    while pair.now < end {
        for (near, _) in &streams {
            if pair.dialler.unsent(*near) < 16_384 {
                pair.dialler.write(*near, &block).unwrap();
            }
        }
        for _ in 0..100 {
            pair.pass(Duration::from_micros(100));
        }
        for ((_, far), got) in streams.iter().zip(&mut got) {
            while let Ok(Some(bytes @ 1..)) = pair.listener.read(*far, &mut out) {
                *got += bytes as f64;
            }
        }
    }
    let (sum, squares): (f64, f64) = (got.iter().sum(), got.iter().map(|x| x * x).sum());
    let jain = sum * sum / (got.len() as f64 * squares);
    assert!(jain >= 0.98, "{jain}");
}

#[test]
fn mx33_streams_that_come_and_go_do_not_shut_out_one_that_stays() {
    let mut pair = Pair::connected(Config::default());
    pair.rate = Some(20_000_000);
    let (bulk, bulk_there) = pair.open();
    // Enough that some have always just been woken: each writes a frame, and the next when that is gone.
    let eager: Vec<_> = (0..64).map(|_| pair.open()).collect();
    let (mut got, mut got_by_eager) = (0, 0);
    let (block, mut out) = (vec![0; 65_536], vec![0; 65_536]);
    let end = pair.now + 4 * SECOND;
    while pair.now < end {
        while pair.dialler.write(bulk, &block).unwrap() > 0 {}
        for (near, far) in &eager {
            if pair.dialler.unsent(*near) == 0 {
                pair.dialler.write(*near, &block[..16_376]).unwrap();
            }
            while let Ok(Some(bytes @ 1..)) = pair.listener.read(*far, &mut out) {
                got_by_eager += bytes;
            }
        }
        while let Ok(Some(bytes @ 1..)) = pair.listener.read(bulk_there, &mut out) {
            got += bytes;
        }
        pair.pass(Duration::from_micros(200));
    }
    let share = (got + got_by_eager) / 65;
    assert!((share / 2..share * 2).contains(&got), "{got} beside {got_by_eager}");
}

#[test]
fn priorities_divide_a_link_and_leave_everybody_something() {
    let mut pair = Pair::connected(Config::default());
    pair.rate = Some(20_000_000);
    let bands = [Priority::Urgent, Priority::Normal, Priority::Low, Priority::Background];
    let streams: Vec<_> = bands.iter().map(|_| pair.open()).collect();
    for ((near, _), priority) in streams.iter().zip(bands) {
        pair.dialler.set_priority(*near, priority);
    }
    let mut got = [0; 4];
    let (block, mut out) = (vec![0; 65_536], vec![0; 65_536]);
    let end = pair.now + 3 * SECOND;
    while pair.now < end {
        for ((near, far), got) in streams.iter().zip(&mut got) {
            while pair.dialler.write(*near, &block).unwrap() > 0 {}
            while let Ok(Some(bytes @ 1..)) = pair.listener.read(*far, &mut out) {
                *got += bytes;
            }
        }
        pair.pass(Duration::from_micros(200));
    }
    let total: usize = got.iter().sum();
    assert!(got[0] * 100 > total * 70, "{got:?}");
    assert!(got[1..].iter().all(|got| got * 100 > total * 3), "{got:?}");
}

#[test]
fn mx34_pongs_forged_or_delayed_do_not_make_windows_run_away() {
    let mut victim = Scripted::greeted(Config::default());
    assert_eq!(
        ended_by(victim.send(&[Frame::Ping { sequence: 1, ack: true }])),
        CloseCode::PROTOCOL,
        "unsent"
    );
    let mut victim = Scripted::greeted(Config::default());
    victim.core.ping();
    victim.sent();
    assert_eq!(
        ended_by(victim.send(&[Frame::Ping { sequence: 2, ack: true }])),
        CloseCode::PROTOCOL,
        "ahead"
    );

    // A pong delayed by ten seconds would make any rate look like less than two round trips.
    let mut victim = Scripted::greeted(Config::default());
    victim.send(&[open(1)]).unwrap();
    let key = victim.accept();
    victim.sent();
    victim.pass(10 * SECOND);
    victim.send(&[Frame::Ping { sequence: 1, ack: true }]).unwrap();
    let mut out = vec![0; 65_536];
    let mut limit = 65_536_u64;
    let mut sent = 0_u64;
    for _ in 0..3_000 {
        for _ in 0..4 {
            if sent + 16_376 <= limit {
                victim.send(&[data(1, 16_376)]).unwrap();
                sent += 16_376;
            }
        }
        while let Ok(Some(1..)) = victim.core.read(key, &mut out) {}
        for frame in victim.sent() {
            if let Frame::Credit { limit: new, .. } = frame {
                limit = new;
            }
        }
        victim.pass(Duration::from_millis(10));
    }
    // The rate never rose, so neither does the window, beyond the first doublings that raised it.
    assert!(limit - sent <= 2 * 1024 * 1024, "{}", limit - sent);
}

#[test]
fn mx34_a_queue_of_our_own_makes_no_window_grow() {
    // A frame every 128 µs through a path of 450 µs, and a PONG waits behind all that is on its way.
    let (idle, turn) = (Duration::from_micros(450), Duration::from_micros(128));
    let mut victim = Scripted::greeted(Config::default());
    victim.send(&[open(1)]).unwrap();
    let mut bulk = Bulk::new(victim.accept(), 1);
    let mut owed: Vec<(u64, Duration)> = Vec::new();
    for _ in 0..5_000 {
        for sequence in bulk.turn(&mut victim, 1) {
            // The queue is what may be sent and has not come; a frame leaves it each turn.
            let queue = if bulk.sent < 100_000 { 0 } else { bulk.promised() / 16_376 };
            owed.push((sequence, idle + turn * u32::try_from(queue).unwrap()));
        }
        victim.pass(turn);
        for (_, left) in &mut owed {
            *left = left.saturating_sub(turn);
        }
        for (sequence, _) in owed.extract_if(.., |(_, left)| left.is_zero()) {
            victim.send(&[Frame::Ping { sequence, ack: true }]).unwrap();
        }
    }
    // 57 KiB fill the path, and the window began with more.
    assert!(bulk.promised() <= 256 * 1024, "{}", bulk.promised());
    assert!(bulk.sent > 50 * 1024 * 1024, "{}", bulk.sent);
}

#[test]
fn mx32_on_a_short_path_a_stream_has_less_on_its_way_beside_others() {
    let mut victim = Scripted::greeted(Config::default());
    victim.send(&[open(1), open(3)]).unwrap();
    let (mut bulk, key) = (Bulk::new(victim.accept(), 1), victim.accept());
    let turn = Duration::from_micros(50);
    let mut turns = |bulk: &mut Bulk, turns, has_company| {
        for _ in 0..turns {
            for sequence in bulk.turn(&mut victim, 8) {
                victim.pass(turn);
                victim.send(&[Frame::Ping { sequence, ack: true }]).unwrap();
            }
            if has_company {
                victim.send(&[data(3, 64)]).unwrap();
                victim.core.read(key, &mut [0; 64]).unwrap();
            }
            victim.pass(turn);
        }
        bulk.turn(&mut victim, 0);
        bulk.promised()
    };
    let alone = turns(&mut bulk, 4_000, false);
    assert!((384 * 1024..=512 * 1024).contains(&alone), "{alone}");
    let in_company = turns(&mut bulk, 200, true);
    assert!((192 * 1024..=256 * 1024).contains(&in_company), "{in_company}");
    let alone = turns(&mut bulk, 4_000, false);
    assert!((384 * 1024..=512 * 1024).contains(&alone), "{alone}");
}

/// A stream whose peer sends all that it may, and whose reader reads all that comes.
struct Bulk {
    key: StreamKey,
    id: u32,
    sent: u64,
    limit: u64,
}

impl Bulk {
    fn new(key: StreamKey, id: u32) -> Self {
        Self { key, id, sent: 0, limit: 65_536 }
    }

    /// Up to so many frames; says which PINGs are to be answered.
    fn turn(&mut self, victim: &mut Scripted, frames: usize) -> Vec<u64> {
        let mut pings = Vec::new();
        for frame in victim.sent() {
            if let Frame::Credit { id, limit } = frame
                && id == self.id
            {
                self.limit = limit;
            }
            if let Frame::Ping { sequence, ack: false } = frame {
                pings.push(sequence);
            }
        }
        for _ in 0..frames {
            if self.sent + 16_376 <= self.limit {
                victim.send(&[data(self.id, 16_376)]).unwrap();
                self.sent += 16_376;
            }
        }
        while let Ok(Some(1..)) = victim.core.read(self.key, &mut [0; 65_536]) {}
        pings
    }

    /// How many octets the peer may still send.
    fn promised(&self) -> u64 {
        self.limit - self.sent
    }
}

#[test]
fn mx35_a_clock_that_jumps_costs_at_most_one_ping() {
    let mut victim = Scripted::new(Config::default());
    victim.pass(Duration::from_secs(86_400 * 365));
    assert_eq!(victim.core.end(), None, "silence is fatal only after a ping");
    let Some(Frame::Ping { sequence, ack: false }) = victim.sent().pop() else { panic!("no ping") };
    victim.pass(19 * SECOND);
    victim.send(&[Frame::Ping { sequence, ack: true }]).unwrap();
    // Backwards: times that a caller remembered are harmless.
    let past = victim.now.checked_sub(60 * SECOND).unwrap();
    victim.core.handle_timeout(past);
    victim.core.receive(past, Bytes::from(octets(&[open(1)]))).unwrap();
    assert_eq!(victim.core.end(), None);
}

#[test]
fn mx36_m18_silence_ends_a_session_and_traffic_never_does() {
    let mut victim = Scripted::new(Config::default());
    victim.send(&[open(1)]).unwrap();
    victim.accept();
    // Saturated: bytes flow, pongs are late, nobody dies.
    for second in 0..60 {
        victim.send(&[data(1, 100)]).unwrap();
        victim.pass(SECOND);
        victim.sent();
        assert_eq!(victim.core.end(), None, "after {second} s");
    }
    // Silent: asked once, then dead, within 45 s in all.
    let mut elapsed = 0;
    while victim.core.end().is_none() {
        victim.pass(SECOND);
        victim.sent();
        elapsed += 1;
        assert!(elapsed <= 45);
    }
    assert!(elapsed >= 30);
    assert_eq!(victim.core.end(), Some(&SessionEnd::TimedOut { which: Timeout::Silence }));
}

#[test]
fn mx37_datagrams_at_ten_times_the_rate_leave_streams_their_share() {
    let mut pair = Pair::connected(Config::default());
    pair.rate = Some(1_250_000);
    let (bulk, sink) = pair.open();
    let end = pair.now + 2 * SECOND;
    let (mut stream, mut datagrams) = (0, 0);
    let mut out = vec![0; 65_536];
    while pair.now < end {
        while pair.dialler.write(bulk, &[0; 16_384]).unwrap() > 0 {}
        (0..10)
            .for_each(|flow| pair.dialler.send_datagram(pair.now, flow + 1, vec![0; 1_200].into()).unwrap());
        pair.pass(Duration::from_millis(1));
        while let Ok(Some(bytes @ 1..)) = pair.listener.read(sink, &mut out) {
            stream += bytes;
        }
        while let Some((_, datagram)) = pair.listener.receive_datagram() {
            datagrams += datagram.len();
        }
    }
    assert!(pair.dialler.stats().datagrams_dropped > 1_000);
    assert!(stream > 700_000, "streams had {stream} of 2,500,000");
    assert!(datagrams > 700_000, "datagrams had {datagrams} of 2,500,000");
}

#[test]
fn mx38_datagrams_that_do_not_fit_are_refused_here_and_end_the_session_there() {
    let mut pair = Pair::new(Config::default(), Config::default().max_datagram(100));
    pair.settle();
    let now = pair.now;
    let too_large = DatagramError::TooLarge { length: 101, limit: 100 };
    assert_eq!(pair.dialler.send_datagram(now, 1, vec![0; 101].into()), Err(too_large));
    assert_eq!(pair.dialler.send_datagram(now, 0, Bytes::new()), Err(DatagramError::NoFlow));
    pair.dialler.send_datagram(now, 9, vec![0; 100].into()).unwrap();
    pair.dialler.send_datagram(now, 9, Bytes::new()).unwrap();
    pair.settle();
    assert_eq!(pair.listener.receive_datagram().map(|(flow, payload)| (flow, payload.len())), Some((9, 100)));
    assert_eq!(pair.listener.receive_datagram(), Some((9, Bytes::new())));

    let mut victim = Scripted::new(Config::default().max_datagram(0));
    let datagram = Frame::Datagram { flow: 1, payload: Bytes::new() };
    assert_eq!(ended_by(victim.send(&[datagram])), CloseCode::FRAME_TOO_LARGE);
}

#[test]
fn mx39_one_tenant_cannot_take_the_process_pool_from_the_others() {
    let budget = Arc::new(Budget::new(1 << 20));
    let config = || Config::default().process_budget(Arc::clone(&budget));
    let mut greedy = Pair::connected(config());
    for _ in 0..100 {
        greedy.open();
    }
    assert!(budget.left() > 0, "half of what is left stays");
    let mut modest = Pair::connected(config());
    let (near, far) = modest.open();
    let mut moved = 0;
    for _ in 0..50 {
        modest.dialler.write(near, &[0; 65_536]).unwrap();
        modest.settle();
        let mut out = vec![0; 65_536];
        while let Ok(Some(bytes @ 1..)) = modest.listener.read(far, &mut out) {
            moved += bytes;
        }
        modest.settle();
    }
    assert!(moved >= 50 * 16_384, "{moved}");
    let left = budget.left();
    for core in [&mut greedy.dialler, &mut greedy.listener] {
        core.close(CloseCode::NONE, Bytes::new());
    }
    drop(greedy);
    assert!(budget.left() > left, "a session that is gone gives back what it held");
}

#[test]
fn mx40_m32_heads_and_reasons_are_bounded_octets_never_text() {
    let mut victim = Scripted::new(Config::default());
    let head = Bytes::from_static(b"\xff\r\n\0");
    victim.send(&[Frame::Open { id: 1, credit: 0, head: head.clone(), fin: false }]).unwrap();
    let key = victim.core.next_incoming().unwrap();
    assert_eq!(victim.core.take_head(key), head);
    assert!(matches!(
        victim.core.open(vec![0; 4_097].into()),
        Err(OpenError::HeadTooLarge { length: 4_097 })
    ));
    assert_eq!(
        ended_by(victim.send_octets(&header(FrameKind::GOAWAY, 8 + 257, 0))),
        CloseCode::FRAME_TOO_LARGE
    );
    let mut victim = Scripted::new(Config::default());
    let close = Frame::Close { code: CloseCode::NONE, reason: Bytes::from_static(b"\xff\x1b[31m") };
    let end = victim.send(&[close]).unwrap_err();
    assert!(!end.to_string().contains('\u{1b}'), "a reason reaches a log only if somebody escapes it");
}

#[test]
fn mx41_w17_a_handshake_that_drips_ends_after_ten_seconds() {
    let mut victim = Scripted::silent(Role::Listener, Config::default());
    let hello = octets(&[hello()]);
    for octet in &hello[..9] {
        victim.send_octets(&[*octet]).unwrap();
        victim.pass(SECOND);
    }
    assert_eq!(victim.core.end(), None);
    victim.pass(SECOND);
    assert_eq!(victim.core.end(), Some(&SessionEnd::TimedOut { which: Timeout::Handshake }));
}

#[test]
fn mx43_thousands_of_streams_close_at_once_in_few_batches() {
    let mut pair = Pair::connected(Config::default().max_peer_streams(20_000));
    let near: Vec<_> = (0..20_000).map(|_| pair.dialler.open(Bytes::new()).unwrap().unwrap()).collect();
    pair.settle();
    let far: Vec<_> = std::iter::from_fn(|| pair.listener.next_incoming()).collect();
    assert_eq!(far.len(), 20_000);
    for key in near {
        pair.dialler.release_send(key);
        pair.dialler.release_recv(key);
    }
    pair.settle();
    for key in far {
        pair.listener.release_send(key);
        pair.listener.release_recv(key);
    }
    pair.settle();
    assert_eq!((pair.dialler.open_streams(), pair.listener.open_streams()), (0, 0));
    assert_eq!(pair.dialler.end(), None);
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
fn m14_half_a_stream_stays_open_as_long_as_the_other_half_likes() {
    let mut pair = Pair::connected(Config::default());
    let (near, far) = pair.open();
    pair.listener.finish_stream(far).unwrap();
    pair.settle();
    assert_eq!(pair.dialler.read(near, &mut [0; 1]), Ok(Some(0)));
    for minute in 0..60 {
        pair.now += 10 * SECOND;
        pair.dialler.handle_timeout(pair.now);
        pair.listener.handle_timeout(pair.now);
        pair.dialler.write(near, &[minute]).unwrap();
        pair.settle();
        assert_eq!(pair.listener.read(far, &mut [0; 8]), Ok(Some(1)));
    }
}

#[test]
fn m15_a_reset_after_fin_changes_nothing_and_without_fin_comes_after_the_bytes() {
    let mut victim = Scripted::new(Config::default());
    victim.send(&[open(1), data(1, 5), fin(1), reset(1)]).unwrap();
    let key = victim.accept();
    assert_eq!(victim.core.read(key, &mut [0; 8]), Ok(Some(5)));
    assert_eq!(victim.core.read(key, &mut [0; 8]), Ok(Some(0)));
    victim.send(&[open(3), data(3, 5), reset(3)]).unwrap();
    let key = victim.accept();
    assert_eq!(victim.core.read(key, &mut [0; 8]), Ok(Some(5)));
    let code = CloseCode::CANCELLED;
    assert_eq!(victim.core.read(key, &mut [0; 8]), Err(StreamError::Reset { code }));
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
            stats.ping_breaches,
        ];
        assert_eq!(counters.iter().sum::<u64>(), stats.budget_breaches);
        (end.map_err(|end| end.close_code()), counters)
    };
    let calm = Err(CloseCode::ENHANCE_CALM);
    let pad = Frame::Pad { length: 0 };
    assert_eq!(spent(Config::default().useless_frames(none), &[pad]), (calm, [1, 0, 0, 0]));
    let mut flood = vec![open(1)];
    flood.extend((0..1_025).map(|_| data(1, 1)));
    assert_eq!(spent(Config::default().small_data(none), &flood), (Ok(()), [0, 1, 0, 0]));
    let config = Config::default().small_data(none).forced_resets(none);
    assert_eq!(spent(config, &flood), (calm, [0, 1, 1, 0]));
    let pings: Vec<_> = (1..=2_001).map(|sequence| Frame::Ping { sequence, ack: false }).collect();
    assert_eq!(spent(Config::default(), &pings), (calm, [0, 0, 0, 1]));
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
