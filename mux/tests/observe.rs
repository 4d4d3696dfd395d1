//! What an observer is told, and that the counters of a session agree with it.
#![cfg(feature = "tokio")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail, and owns its tasks and clock"
)]

mod common;
#[path = "common/recorder.rs"]
mod recorder;

use adit_mux::{Allowance, Builder, Config, Role};
use adit_wire_proto::CloseCode;
use bytes::Bytes;
use common::{Scripted, data, open};
use recorder::Recorder;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

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
    let resets: u64 = ["Local", "Peer"].iter().map(|by| recorder.sum(&format!("reset by {by}"))).sum();
    assert_eq!(resets, stats.resets_sent + stats.resets_received);
    let stops: u64 = ["Local", "Peer"].iter().map(|by| recorder.sum(&format!("stopped by {by}"))).sum();
    assert_eq!(stops, stats.stops_sent + stats.stops_received);
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
