//! Clocks that jump, silence, and handshakes that drip.

use super::SECOND;
use super::common::*;
use adit_mux::{Config, Role, SessionEnd, Timeout};
use adit_wire_proto::frame::Frame;
use bytes::Bytes;
use std::time::Duration;

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
