//! The multiplexer's core: octets of a hostile peer, and two honest cores over a pipe that is cut anywhere.

use adit_mux::{Batch, Config, Connection, Role, SessionStats, StreamKey};
use adit_wire_proto::frame::{Frame, Hello};
use bytes::{Bytes, BytesMut};
use std::io::IoSlice;
use std::time::Instant;

#[path = "../../mux/tests/common/world.rs"]
#[allow(
    clippy::as_conversions,
    clippy::wildcard_enum_match_arm,
    reason = "the model is shared with the tests of the crate, and knows its numbers and events"
)]
mod world;

/// An even first octet: the rest is a script for two cores beside a model of what must come out. An odd one: the rest
/// is what a peer sends, and a core that gets it octet by octet must come to the same as one that gets it at once.
pub fn mux_session(data: &[u8]) {
    match data.split_first() {
        Some((first, script)) if first % 2 == 0 => world::run(script),
        Some((first, octets)) => hostile(first & 2 == 0, octets),
        None => {}
    }
}

fn hostile(greets: bool, octets: &[u8]) {
    let mut wire = BytesMut::new();
    if greets {
        let mut hello = Hello::new();
        hello.max_streams = 4;
        hello.stream_window = 100;
        Frame::Hello(hello).encode(&mut wire);
    }
    wire.extend_from_slice(octets);
    let now = Instant::now();
    let whole = outcome(now, std::iter::once(wire.clone().freeze()));
    let pieces = outcome(now, wire.iter().map(|octet| Bytes::copy_from_slice(&[*octet])));
    assert_eq!(whole, pieces);
}

/// All that can be seen from outside after the octets came: what is sent, what is read, what is counted.
fn outcome(now: Instant, pieces: impl Iterator<Item = Bytes>) -> (Vec<u8>, Vec<Vec<u8>>, SessionStats) {
    let mut core = Connection::new(Role::Listener, Config::default(), now);
    let _ = core.open(Bytes::new());
    for piece in pieces {
        let _ = core.receive(now, piece);
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
    let mut sent = Vec::new();
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
    while core.poll_event().is_some() {}
    let mut stats = core.stats();
    // What comes after the end is not looked at, and only one that gets it at once has counted it.
    stats.bytes_received = 0;
    (sent, read, stats)
}
