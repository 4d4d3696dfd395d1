//! What an observer is told, and that the counters of a session agree with it.
#![cfg(feature = "tokio")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail, and owns its tasks and clock"
)]

mod common;

use adit_mux::{Abuse, Allowance, Builder, Config, Observer, Origin, Role, SessionEnd};
use adit_wire_proto::CloseCode;
use bytes::Bytes;
use common::{Scripted, data, open};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

/// Counts everything, by a name as a metrics recorder would.
#[derive(Default)]
struct Recorder(Mutex<BTreeMap<String, u64>>);

impl Recorder {
    fn add(&self, name: String, number: u64) {
        *self.0.lock().unwrap().entry(name).or_default() += number;
    }

    fn count(&self, name: &str) -> u64 {
        self.0.lock().unwrap().get(name).copied().unwrap_or_default()
    }
}

impl Observer for Recorder {
    fn connected(&self) {
        self.add("connected".into(), 1);
    }

    fn stream_opened(&self, by: Origin) {
        self.add(format!("opened by {by:?}"), 1);
    }

    fn stream_closed(&self, by: Origin) {
        self.add(format!("closed, opened by {by:?}"), 1);
    }

    fn stream_refused(&self, by: Origin, code: CloseCode) {
        self.add(format!("refused by {by:?} {code}"), 1);
    }

    fn reset(&self, by: Origin, code: CloseCode) {
        self.add(format!("reset by {by:?} {code}"), 1);
    }

    fn stopped(&self, by: Origin, code: CloseCode) {
        self.add(format!("stopped by {by:?} {code}"), 1);
    }

    fn budget_spent(&self, what: Abuse) {
        self.add(format!("budget {what:?}"), 1);
    }

    fn received(&self, bytes: u64) {
        self.add("received".into(), bytes);
        self.add("reads".into(), 1);
    }

    fn sent(&self, bytes: u64) {
        self.add("sent".into(), bytes);
    }

    fn round_trip(&self, _: Duration) {
        self.add("round trips".into(), 1);
    }

    fn draining(&self, by: Origin, code: CloseCode) {
        self.add(format!("draining by {by:?} {code}"), 1);
    }

    fn ended(&self, end: &SessionEnd) {
        self.add(format!("ended {}", end.close_code()), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_hears_of_a_whole_life() {
    let recorder = Arc::new(Recorder::default());
    let (near, far) = duplex(64 * 1024);
    let config = Config::default().observer(recorder.clone());
    let (session, _keep, near) = Builder::new(Role::Dialler).config(config).build(near);
    let (peer, mut incoming, far) = Builder::new(Role::Listener).build(far);
    let near = tokio::spawn(near);
    tokio::spawn(far);

    let (mut one, mut two) =
        (session.open(Bytes::new()).await.unwrap(), session.open(Bytes::new()).await.unwrap());
    one.write_all(&[1; 300_000]).await.unwrap();
    let (mut one_there, two_there) =
        (incoming.accept().await.unwrap().accept(), incoming.accept().await.unwrap());
    one_there.read_exact(&mut vec![0; 300_000]).await.unwrap();
    two_there.refuse(CloseCode::UNKNOWN_TUNNEL);
    two.read(&mut [0; 1]).await.unwrap_err();
    one.reset(CloseCode::UPSTREAM_RESET);
    one_there.read(&mut [0; 1]).await.unwrap_err();
    drop((one, two, one_there));
    session.ping().await.unwrap();
    session.drain(CloseCode::DRAINING, "bye");
    near.await.unwrap();
    peer.closed().await;

    let stats = session.stats();
    let ours = |name: &str| recorder.count(name);
    assert_eq!((ours("connected"), ours("opened by Local"), stats.streams_opened), (1, 2, 2));
    assert_eq!((ours("closed, opened by Local"), stats.streams_closed), (2, 2));
    let refused = CloseCode::UNKNOWN_TUNNEL;
    assert_eq!(ours(&format!("reset by Peer {refused}")), 1);
    assert_eq!(ours(&format!("stopped by Peer {refused}")), 1);
    assert_eq!(ours(&format!("reset by Local {}", CloseCode::UPSTREAM_RESET)), 1);
    assert_eq!((ours("received"), ours("sent")), (stats.bytes_received, stats.bytes_sent));
    assert!(ours("sent") > 300_000);
    assert!(ours("round trips") >= 1 && stats.pings_sent == ours("round trips"));
    assert_eq!((ours(&format!("draining by Local {}", CloseCode::DRAINING)), stats.drains), (1, 1));
    assert_eq!(ours(&format!("ended {}", CloseCode::DRAINING)), 1);
    // All that is left is resets and stops of those two streams.
    let resets: u64 = ["Local", "Peer"].iter().map(|by| sum(&recorder, &format!("reset by {by}"))).sum();
    assert_eq!(resets, stats.resets_sent + stats.resets_received);
    let stops: u64 = ["Local", "Peer"].iter().map(|by| sum(&recorder, &format!("stopped by {by}"))).sum();
    assert_eq!(stops, stats.stops_sent + stats.stops_received);
}

fn sum(recorder: &Recorder, start: &str) -> u64 {
    recorder
        .0
        .lock()
        .unwrap()
        .iter()
        .filter(|(name, _)| name.starts_with(start))
        .map(|(_, count)| count)
        .sum()
}

#[test]
fn an_observer_is_called_per_read_not_per_frame() {
    let recorder = Arc::new(Recorder::default());
    let mut victim = Scripted::new(Config::default().observer(recorder.clone()));
    let before = recorder.count("reads");
    let mut frames = vec![open(1)];
    frames.extend((0..1_000).map(|_| data(1, 50)));
    victim.send(&frames).unwrap();
    assert_eq!(recorder.count("reads"), before + 1);
    assert_eq!(recorder.count("opened by Peer"), 1);
}

#[test]
fn an_observer_hears_which_budget_was_spent() {
    let recorder = Arc::new(Recorder::default());
    let config = Config::default().useless_frames(Allowance::new(3, 0)).observer(recorder.clone());
    let mut victim = Scripted::new(config);
    let pad = adit_wire_proto::frame::Frame::Pad { length: 0 };
    victim.send(&[pad.clone(), pad.clone(), pad.clone(), pad]).unwrap_err();
    assert_eq!(recorder.count("budget UselessFrames"), 1);
    assert_eq!(recorder.count(&format!("ended {}", CloseCode::ENHANCE_CALM)), 1);
}
