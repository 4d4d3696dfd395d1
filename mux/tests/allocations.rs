//! In steady state nothing is allocated per frame, on either end.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail, and owns its tasks and clock"
)]

use adit_mux::{Batch, Config, Connection, Role, StreamKey};
use allocation_counter::measure;
use bytes::{Bytes, BytesMut};
use std::io::IoSlice;
use std::time::Instant;

/// Two cores back to back, and what carries octets between them: segments that are used again, as in the driver.
struct Cores {
    now: Instant,
    near: Connection,
    far: Connection,
    batch: Batch,
    segment: BytesMut,
}

impl Cores {
    fn connected() -> (Self, StreamKey, StreamKey) {
        let now = Instant::now();
        let config = Config::default().grease(false);
        let mut cores = Self {
            now,
            near: Connection::new(Role::Dialler, config.clone(), now),
            far: Connection::new(Role::Listener, config, now),
            batch: Batch::new(),
            segment: BytesMut::with_capacity(SEGMENT),
        };
        cores.exchange();
        let ours = cores.near.open(Bytes::new()).unwrap().unwrap();
        cores.exchange();
        let theirs = cores.far.next_incoming().unwrap();
        cores.far.accept(theirs);
        (cores, ours, theirs)
    }

    /// Carries all that is due, both ways.
    fn exchange(&mut self) {
        loop {
            let there = carry(self.now, &mut self.near, &mut self.far, &mut self.batch, &mut self.segment);
            let back = carry(self.now, &mut self.far, &mut self.near, &mut self.batch, &mut self.segment);
            if !there && !back {
                return;
            }
        }
    }
}

fn carry(
    now: Instant,
    from: &mut Connection,
    to: &mut Connection,
    batch: &mut Batch,
    segment: &mut BytesMut,
) -> bool {
    if !from.poll_transmit(now, batch) {
        return false;
    }
    assert!(segment.try_reclaim(SEGMENT) || segment.capacity() >= batch.len(), "the reader holds it all");
    while !batch.is_empty() {
        let mut slices = [IoSlice::new(&[]); 16];
        let used = batch.gather(&mut slices);
        let length = slices[..used].iter().map(|slice| slice.len()).sum();
        slices[..used].iter().for_each(|slice| segment.extend_from_slice(slice));
        batch.advance(length);
    }
    to.receive(now, segment.split().freeze()).unwrap();
    while to.poll_event().is_some() {}
    while from.poll_event().is_some() {}
    true
}

/// Sends `frames` pieces of `length` octets, reading each batch as it comes; whole chunks if `in_chunks`.
fn pass(
    cores: &mut Cores,
    ours: StreamKey,
    theirs: StreamKey,
    frames: usize,
    length: usize,
    in_chunks: bool,
) {
    let piece = [7; 64 * 1024];
    let mut out = [0; 64 * 1024];
    for _ in 0..frames {
        assert_eq!(cores.near.write(ours, &piece[..length]).unwrap(), length);
        cores.exchange();
        let mut left = length;
        while left > 0 {
            left -= if in_chunks {
                cores.far.read_chunk(theirs, usize::MAX).unwrap().unwrap().len()
            } else {
                cores.far.read(theirs, &mut out).unwrap().unwrap()
            };
        }
        assert!(cores.far.read(theirs, &mut out).unwrap().is_none());
    }
}

#[test]
fn the_core_allocates_nothing_per_frame() {
    for (length, in_chunks) in
        [(64, false), (64, true), (16_376, false), (16_376, true), (65_536, false), (65_536, true)]
    {
        let (mut cores, ours, theirs) = Cores::connected();
        pass(&mut cores, ours, theirs, 1000, length, in_chunks);
        let counted = measure(|| pass(&mut cores, ours, theirs, 1000, length, in_chunks));
        assert_eq!(counted.count_total, 0, "pieces of {length}, in chunks: {in_chunks}");
    }
}

#[test]
fn the_core_allocates_nothing_for_many_streams_that_take_turns() {
    let (mut cores, first, first_there) = Cores::connected();
    let mut streams = vec![(first, first_there)];
    for _ in 1..100 {
        let ours = cores.near.open(Bytes::new()).unwrap().unwrap();
        cores.exchange();
        let theirs = cores.far.next_incoming().unwrap();
        cores.far.accept(theirs);
        streams.push((ours, theirs));
    }
    let mut out = [0; 64];
    let mut round = |cores: &mut Cores| {
        for (ours, _) in &streams {
            assert_eq!(cores.near.write(*ours, &[7; 64]).unwrap(), 64);
        }
        cores.exchange();
        for (_, theirs) in &streams {
            assert_eq!(cores.far.read(*theirs, &mut out).unwrap(), Some(64));
        }
    };
    (0..300).for_each(|_| round(&mut cores));
    let counted = measure(|| (0..100).for_each(|_| round(&mut cores)));
    assert_eq!(counted.count_total, 0);
}

#[cfg(feature = "tokio")]
mod driver {
    use super::*;
    use adit_mux::Builder;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    /// A pair of sockets rather than a pipe, since tokio's pipe allocates now and then.
    async fn sockets() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        (near, far)
    }

    fn start(role: Role, socket: TcpStream) -> (adit_mux::Session, adit_mux::Incoming) {
        socket.set_nodelay(true).unwrap();
        let (reader, writer) = socket.into_split();
        let (session, incoming, driver) = Builder::new(role).build_split(reader, writer);
        tokio::spawn(driver);
        (session, incoming)
    }

    #[test]
    fn the_driver_allocates_nothing_per_frame() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (mut ours, mut theirs, _ends) = runtime.block_on(async {
            let (near, far) = sockets().await;
            let (session, from_far) = start(Role::Dialler, near);
            let (listener, mut from_near) = start(Role::Listener, far);
            let ours = session.open(Bytes::new()).await.unwrap();
            let theirs = from_near.accept().await.unwrap().accept();
            (ours, theirs, (session, listener, from_far, from_near))
        });
        for length in [64, 16_376, 65_536] {
            let (piece, mut out) = (vec![7; length], vec![0; length]);
            let mut pass = |times: usize| {
                runtime.block_on(async {
                    for _ in 0..times {
                        let (sent, read) = tokio::join!(ours.write_all(&piece), theirs.read_exact(&mut out));
                        sent.unwrap();
                        read.unwrap();
                    }
                });
            };
            pass(300);
            let counted = measure(|| pass(1000));
            // A PING that measures the round trip, and a timer that moves, are not frames.
            assert!(counted.count_total <= 10, "{} allocations for {length}", counted.count_total);
        }
    }
}

const SEGMENT: usize = 512 * 1024;
