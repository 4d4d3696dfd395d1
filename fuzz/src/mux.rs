//! The multiplexer's core: octets of a hostile peer, and two honest cores over a pipe that is cut anywhere.

use adit_mux::{Batch, Config, Connection, Role, SessionStats, StreamKey};
use adit_wire_proto::frame::{Frame, Hello};
use bytes::{Bytes, BytesMut};
use std::io::IoSlice;
use std::time::{Duration, Instant};

#[path = "../../mux/tests/common/world.rs"]
#[allow(
    clippy::as_conversions,
    clippy::wildcard_enum_match_arm,
    reason = "the model is shared with the tests of the crate, and knows its numbers and events"
)]
mod world;

/// An even first octet: the rest is a script for two cores beside a model of what must come out. An odd one: the rest
/// is what a peer sends, and a core that gets it octet by octet must come to the same as one that gets it at once. With
/// its third bit set time passes in between: see `steps`.
pub fn mux_session(data: &[u8]) {
    match data.split_first() {
        Some((first, script)) if first % 2 == 0 => world::run(script),
        Some((first, script)) if first & 4 == 0 => hostile(first & 2 == 0, &[(Duration::ZERO, script)]),
        Some((first, script)) => hostile(first & 2 == 0, &steps(script)),
        None => {}
    }
}

/// What comes, and how long it took: two octets say how long (to eleven minutes) and how many follow.
fn steps(mut script: &[u8]) -> Vec<(Duration, &[u8])> {
    let mut steps = Vec::new();
    while let Some(([time, length], rest)) = script.split_first_chunk() {
        let (octets, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        let time = u64::from(*time);
        steps.push((Duration::from_millis(time * time * 10), octets));
        script = rest;
    }
    steps
}

fn hostile(greets: bool, steps: &[(Duration, &[u8])]) {
    let mut greeting = BytesMut::new();
    if greets {
        let mut hello = Hello::new();
        hello.max_streams = 4;
        hello.stream_window = 100;
        Frame::Hello(hello).encode(&mut greeting);
    }
    let mut steps: Vec<(Duration, Bytes)> =
        steps.iter().map(|(time, octets)| (*time, Bytes::copy_from_slice(octets))).collect();
    if let Some((_, first)) = steps.first_mut() {
        greeting.extend_from_slice(first);
        *first = greeting.freeze();
    }
    let now = Instant::now();
    let whole = outcome(now, &steps, usize::MAX);
    let pieces = outcome(now, &steps, 1);
    assert_eq!(whole, pieces);
}

/// All that can be seen from outside after the octets came, so many at once: what is sent, what is read, what is counted.
fn outcome(
    mut now: Instant,
    steps: &[(Duration, Bytes)],
    at_once: usize,
) -> (Vec<u8>, Vec<Vec<u8>>, SessionStats) {
    let mut core = Connection::new(Role::Listener, Config::default(), now);
    let _ = core.open(Bytes::new());
    let mut sent = Vec::new();
    for (at, (time, octets)) in steps.iter().enumerate() {
        if at > 0 {
            // The timer of whoever drives it may go off late, and at once for all that was due.
            now += *time;
            core.handle_timeout(now);
            send(&mut core, now, &mut sent);
            assert!(core.poll_timeout().is_none_or(|deadline| deadline > now), "due, and not done");
        }
        for piece in octets.chunks(at_once) {
            let _ = core.receive(now, octets.slice_ref(piece));
        }
    }
    let mut keys: Vec<StreamKey> = std::iter::from_fn(|| core.next_incoming()).collect();
    if let Ok(Some(key)) = core.open(Bytes::from_static(b"head")) {
        keys.push(key);
    }
    let read = keys
        .into_iter()
        .map(|key| {
            core.accept(key);
            let _ = core.write(key, b"answer");
            let mut all = Vec::new();
            while let Ok(Some(chunk)) = core.read_chunk(key, 1000) {
                if chunk.is_empty() {
                    break;
                }
                all.extend_from_slice(&chunk);
            }
            all
        })
        .collect();
    send(&mut core, now, &mut sent);
    while core.poll_event().is_some() {}
    let mut stats = core.stats();
    // What comes after the end is not looked at, and only one that gets it at once has counted it.
    stats.bytes_received = 0;
    (sent, read, stats)
}

/// Takes all that is due to be sent.
fn send(core: &mut Connection, now: Instant, sent: &mut Vec<u8>) {
    let mut batch = Batch::new();
    while core.poll_transmit(now, &mut batch) {
        while !batch.is_empty() {
            let mut slices = [IoSlice::new(&[]); 8];
            let used = batch.gather(&mut slices);
            let octets: Vec<u8> = slices[..used].iter().flat_map(|slice| slice.iter().copied()).collect();
            sent.extend_from_slice(&octets);
            batch.advance(octets.len());
        }
    }
}
