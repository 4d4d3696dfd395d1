//! How streams end, in every order.

use super::common::*;
use super::{SECOND, ended_by};
use adit_mux::{Allowance, Config, Event, OpenError, StreamError};
use adit_wire_proto::CloseCode;
use adit_wire_proto::frame::Frame;
use bytes::Bytes;

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
fn mx43_thousands_of_streams_close_at_once_in_few_batches() {
    let all = Allowance::new(20_000, 0);
    let mut pair = Pair::connected(Config::default().max_peer_streams(20_000).rapid_resets(all));
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
fn mx43_twice_as_many_closes_take_twice_as_many_batches() {
    let close = |streams: u32| {
        let mut ours = Scripted::greeted(Config::default());
        let keys: Vec<_> = (0..streams).map(|_| ours.core.open(Bytes::new()).unwrap().unwrap()).collect();
        ours.sent();
        for key in keys {
            ours.core.release_send(key);
            ours.core.release_recv(key);
        }
        let (mut batch, mut wire, mut batches) = (adit_mux::Batch::new(), bytes::BytesMut::new(), 0);
        while ours.core.poll_transmit(ours.now, &mut batch) {
            drain_into(&mut batch, &mut wire);
            batches += 1;
        }
        // A RESET and a STOP for each.
        assert_eq!(u32::try_from(wire.len()).unwrap(), streams * 24);
        batches
    };
    let (some, twice) = (close(10_000), close(20_000));
    assert!((2..=10).contains(&some), "{some}");
    assert!(twice <= 2 * some, "{some} and {twice}");
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
