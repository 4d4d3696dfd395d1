//! How sessions drain.

use super::common::*;
use super::{SECOND, ended_by};
use adit_mux::{Config, OpenError, Role, SessionEnd, StreamError};
use adit_wire_proto::CloseCode;
use adit_wire_proto::frame::Frame;
use bytes::Bytes;

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
