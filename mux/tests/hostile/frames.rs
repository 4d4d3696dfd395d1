//! Frames that are cut, out of order, unknown or too long.

use super::common::*;
use super::{SECOND, ended_by};
use adit_mux::{Config, DatagramError, Event, OpenError, Role, SessionEnd, StreamError, Timeout, Violation};
use adit_wire_proto::CloseCode;
use adit_wire_proto::frame::{Frame, FrameKind};
use bytes::Bytes;

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
fn mx01_a_datagram_that_is_too_long_is_refused_before_its_body_comes() {
    for (most, length) in [(0, 1), (0, 16_376), (1_000, 1_001)] {
        let mut victim = Scripted::new(Config::default().max_datagram(most));
        let end = victim.send_octets(&header(FrameKind::DATAGRAM, length, 1)).unwrap_err();
        let violation = Violation::DatagramTooLarge { length, limit: most };
        assert_eq!(end, SessionEnd::Violation(violation));
    }
    let mut victim = Scripted::new(Config::default().max_datagram(1_000));
    victim.send_octets(&header(FrameKind::DATAGRAM, 1_000, 1)).unwrap();
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

/// RUSTSEC-2026-0258: empty frames that cost the receiver and no credit.
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
