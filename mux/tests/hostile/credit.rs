//! Windows, credit and what may wait: no more comes than was promised, and no more is held.

use super::common::*;
use super::{SECOND, ended_by};
use adit_mux::{Budget, Config, Event, Role, StreamKey};
use adit_wire_proto::CloseCode;
use adit_wire_proto::frame::{Frame, FrameKind};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// CVE-2026-32314: yamux panicked on the frame that opens a stream with more than its window.
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
fn mx05_a_stream_over_its_window_leaks_no_slot_and_no_window() {
    let budget = Arc::new(Budget::new(1 << 30));
    let config = Config::default().process_budget(Arc::clone(&budget)).start_window(1 << 20);
    let mut victim = Scripted::new(config);
    victim.send(&[open(1), open(3)]).unwrap();
    let keys = [victim.accept(), victim.accept()];
    let pool = victim.core.stats().window_pool_left;
    assert!(budget.left() < 1 << 30);
    let flood: Vec<_> = (0..5).map(|_| data(1, 16_376)).collect();
    assert_eq!(ended_by(victim.send(&flood)), CloseCode::FLOW_CONTROL);
    for key in keys {
        victim.core.release_send(key);
        victim.core.release_recv(key);
    }
    assert_eq!((victim.core.open_streams(), victim.core.stats().unread_bytes), (0, 0));
    assert_eq!(budget.left(), 1 << 30);
    assert!(victim.core.stats().window_pool_left > pool);
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
    assert!(queued.is_sorted_by(|one, next| one >= next) && queued[199] == 4 * 16_376, "{queued:?}");
    assert!(queued.iter().sum::<usize>() <= 1024 * 1024 + 200 * 4 * 16_376);
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
fn regression_mx10_readers_that_are_slow_to_come_back_pin_no_buffers() {
    let mut victim = Scripted::new(Config::default().max_peer_streams(2_000));
    let mut buffers = Vec::new();
    let mut keys = Vec::new();
    for id in (1..4_000).step_by(2) {
        victim.send(&[open(id)]).unwrap();
        let key = victim.accept();
        // Its reader waits, is told, and doesn't come.
        assert_eq!(victim.core.read(key, &mut [0; 8]), Ok(None));
        let buffer = Bytes::from(octets(&[data(id, 1_100)]));
        victim.core.receive(victim.now, buffer.clone()).unwrap();
        buffers.push(buffer);
        keys.push(key);
    }
    // Each may be a small part of 256 KiB.
    let pinned = buffers.iter().filter(|buffer| !buffer.is_unique()).count();
    assert!((100..=128).contains(&pinned), "{pinned}");
    // A part of a slice that is left holds as much as all of it; what is read to its end is free again.
    let held = |buffers: &[Bytes]| buffers.iter().filter(|buffer| !buffer.is_unique()).count();
    for key in &keys {
        assert_eq!(victim.core.read(*key, &mut [0; 1_099]), Ok(Some(1_099)));
    }
    assert_eq!(held(&buffers), pinned);
    for key in &keys {
        assert_eq!(victim.core.read(*key, &mut [0; 8]), Ok(Some(1)));
        assert_eq!(victim.core.read(*key, &mut [0; 8]), Ok(None));
    }
    assert_eq!(held(&buffers), 0);
    for (at, key) in keys.iter().enumerate() {
        let buffer = Bytes::from(octets(&[data(u32::try_from(at).unwrap() * 2 + 1, 1_100)]));
        victim.core.receive(victim.now, buffer.clone()).unwrap();
        buffers.push(buffer);
        victim.core.release_send(*key);
    }
    assert_eq!(held(&buffers), pinned);
    keys.into_iter().for_each(|key| victim.core.release_recv(key));
    assert_eq!(held(&buffers), 0);
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
fn mx34_pongs_that_come_too_early_only_slow_their_forger() {
    let mut victim = Scripted::greeted(Config::default());
    victim.send(&[open(1)]).unwrap();
    let mut bulk = Bulk::new(victim.accept(), 1);
    let mut pongs = 0;
    for _ in 0..3_000 {
        // On a path of 10 ms the answer is there at once, as if the question had been known.
        for sequence in bulk.turn(&mut victim, 8) {
            victim.send(&[Frame::Ping { sequence, ack: true }]).unwrap();
            pongs += 1;
        }
        victim.pass(Duration::from_millis(10));
    }
    assert!(pongs > 0 && bulk.sent > 10_000_000, "{pongs}, {}", bulk.sent);
    assert!(bulk.promised() <= 512 * 1024, "{}", bulk.promised());
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
