//! A core with a script of frames for its peer, and two cores back to back, on a clock that stands still.
#![allow(dead_code, reason = "each test program uses some of it")]
#![allow(
    clippy::unwrap_used,
    clippy::as_conversions,
    clippy::disallowed_methods,
    reason = "a test may fail, owns its clock, and knows its numbers"
)]

use adit_mux::{Batch, Config, Connection, Event, Role, SessionEnd, StreamKey};
use adit_wire_proto::CloseCode;
use adit_wire_proto::frame::{Decoder, Frame, FrameHeader, FrameKind, Hello};
use bytes::{Bytes, BytesMut};
use std::io::IoSlice;
use std::time::{Duration, Instant};

/// One core, and the peer that the test plays.
pub(crate) struct Scripted {
    pub(crate) core: Connection,
    pub(crate) now: Instant,
    wire: BytesMut,
    decoder: Decoder,
}

impl Scripted {
    /// A core whose peer has sent nothing yet.
    pub(crate) fn silent(role: Role, config: Config) -> Self {
        let now = Instant::now();
        let core = Connection::new(role, config.grease(false), now);
        Self { core, now, wire: BytesMut::new(), decoder: Decoder::new() }
    }

    /// A listener whose peer has said HELLO with generous limits.
    pub(crate) fn greeted(config: Config) -> Self {
        let mut scripted = Self::silent(Role::Listener, config);
        scripted.send(&[hello()]).unwrap();
        scripted.sent();
        scripted
    }

    /// The same, and the round trip is known: it takes a millisecond.
    pub(crate) fn new(config: Config) -> Self {
        let mut scripted = Self::greeted(config);
        let sequence = scripted.core.ping();
        scripted.sent();
        scripted.now += Duration::from_millis(1);
        scripted.send(&[Frame::Ping { sequence, ack: true }]).unwrap();
        scripted.events();
        scripted
    }

    pub(crate) fn send(&mut self, frames: &[Frame]) -> Result<(), SessionEnd> {
        self.send_octets(&octets(frames))
    }

    pub(crate) fn send_octets(&mut self, octets: &[u8]) -> Result<(), SessionEnd> {
        self.core.receive(self.now, Bytes::copy_from_slice(octets))
    }

    /// Every frame that the core wants to send now.
    pub(crate) fn sent(&mut self) -> Vec<Frame> {
        let mut batch = Batch::new();
        let mut frames = Vec::new();
        while self.core.poll_transmit(self.now, &mut batch) {
            drain_into(&mut batch, &mut self.wire);
            while let Some(frame) = self.decoder.decode(&mut self.wire).unwrap() {
                frames.push(frame);
            }
        }
        frames
    }

    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.core.poll_event()).collect()
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.core.handle_timeout(self.now);
    }

    /// The code of the CLOSE that the core wants to send; it must be the last frame.
    pub(crate) fn close_code(&mut self) -> Option<CloseCode> {
        match self.sent().pop() {
            Some(Frame::Close { code, .. }) => Some(code),
            _ => None,
        }
    }

    /// Sends one frame after another until the core closes; says how many it took.
    pub(crate) fn send_until_closed(
        &mut self,
        most: u32,
        mut frames: impl FnMut(u32) -> Vec<Frame>,
    ) -> (u32, Option<CloseCode>) {
        for round in 0..most {
            if self.send(&frames(round)).is_err() {
                return (round, self.close_code());
            }
            self.sent();
            self.events();
        }
        (most, None)
    }

    pub(crate) fn accept(&mut self) -> StreamKey {
        let key = self.core.next_incoming().unwrap();
        self.core.accept(key);
        key
    }
}

pub(crate) fn hello() -> Frame {
    let mut hello = Hello::new();
    hello.max_streams = 100_000;
    hello.stream_window = 65_536;
    hello.max_datagram = 16_376;
    Frame::Hello(hello)
}

pub(crate) fn open(id: u32) -> Frame {
    Frame::Open { id, credit: 65_536, head: Bytes::new(), fin: false }
}

pub(crate) fn data(id: u32, length: usize) -> Frame {
    Frame::Data { id, payload: vec![7; length].into(), fin: false }
}

pub(crate) fn fin(id: u32) -> Frame {
    Frame::Data { id, payload: Bytes::new(), fin: true }
}

pub(crate) fn reset(id: u32) -> Frame {
    Frame::Reset { id, code: CloseCode::CANCELLED }
}

pub(crate) fn stop(id: u32) -> Frame {
    Frame::Stop { id, code: CloseCode::CANCELLED }
}

pub(crate) fn octets(frames: &[Frame]) -> Vec<u8> {
    let mut wire = BytesMut::new();
    frames.iter().for_each(|frame| frame.encode(&mut wire));
    wire.to_vec()
}

pub(crate) fn header(kind: FrameKind, length: u16, id: u32) -> Vec<u8> {
    FrameHeader::new(kind, 0, length, id).encode().to_vec()
}

pub(crate) fn drain_into(batch: &mut Batch, out: &mut BytesMut) -> usize {
    let mut total = 0;
    while !batch.is_empty() {
        let mut slices = [IoSlice::new(&[]); 16];
        let used = batch.gather(&mut slices);
        let mut bytes = 0;
        for slice in &slices[..used] {
            out.extend_from_slice(slice);
            bytes += slice.len();
        }
        batch.advance(bytes);
        total += bytes;
    }
    total
}

/// Two cores and a link of a given latency and rate between them.
pub(crate) struct Pair {
    pub(crate) dialler: Connection,
    pub(crate) listener: Connection,
    pub(crate) now: Instant,
    /// One way.
    pub(crate) latency: Duration,
    /// Octets a second, each way; `None` for no limit.
    pub(crate) rate: Option<u64>,
    to_listener: Link,
    to_dialler: Link,
}

#[derive(Default)]
struct Link {
    batch: Batch,
    /// What is under way, and when it arrives.
    flying: std::collections::VecDeque<(Instant, Bytes)>,
    free_at: Option<Instant>,
}

impl Pair {
    pub(crate) fn new(dialler: Config, listener: Config) -> Self {
        let now = Instant::now();
        Self {
            dialler: Connection::new(Role::Dialler, dialler, now),
            listener: Connection::new(Role::Listener, listener, now),
            now,
            latency: Duration::ZERO,
            rate: None,
            to_listener: Link::default(),
            to_dialler: Link::default(),
        }
    }

    pub(crate) fn connected(config: Config) -> Self {
        let mut pair = Self::new(config.clone(), config);
        pair.settle();
        pair
    }

    /// One exchange at the present time; says whether anything moved.
    pub(crate) fn step(&mut self) -> bool {
        let (now, latency, rate) = (self.now, self.latency, self.rate);
        let sent = self.to_listener.send(&mut self.dialler, now, latency, rate)
            | self.to_dialler.send(&mut self.listener, now, latency, rate);
        let received = self.to_listener.deliver(&mut self.listener, now)
            | self.to_dialler.deliver(&mut self.dialler, now);
        sent | received
    }

    /// Exchanges until nothing moves at the present time.
    pub(crate) fn settle(&mut self) {
        while self.step() {}
    }

    /// Lets time pass up to the next arrival, but no longer than `most`; then settles.
    pub(crate) fn pass(&mut self, most: Duration) {
        let until = self.now + most;
        let now = self.now;
        let next = [self.to_listener.next(now), self.to_dialler.next(now)].into_iter().flatten().min();
        self.now = next.unwrap_or(until).min(until);
        self.dialler.handle_timeout(self.now);
        self.listener.handle_timeout(self.now);
        self.step();
    }

    /// A stream opened by the dialler: the key at each end.
    pub(crate) fn open(&mut self) -> (StreamKey, StreamKey) {
        let near = self.dialler.open(Bytes::new()).unwrap().unwrap();
        self.settle();
        let far = loop {
            match self.listener.next_incoming() {
                Some(far) => break far,
                None => self.pass(Duration::from_millis(1)),
            }
        };
        self.listener.accept(far);
        (near, far)
    }
}

impl Link {
    fn send(&mut self, core: &mut Connection, now: Instant, latency: Duration, rate: Option<u64>) -> bool {
        // A slow link takes no more than it can carry soon: what waits, waits in the core.
        let start = self.free_at.unwrap_or(now).max(now);
        if start > now + Duration::from_micros(100) {
            return false;
        }
        core.poll_transmit(now, &mut self.batch);
        let mut out = BytesMut::new();
        let mut slices = [IoSlice::new(&[]); 2];
        let used = self.batch.gather(&mut slices);
        let most = if rate.is_some() { 20_000 } else { usize::MAX };
        for slice in &slices[..used] {
            out.extend_from_slice(&slice[..slice.len().min(most - out.len())]);
        }
        self.batch.advance(out.len());
        core.wrote(now, out.len(), !self.batch.is_empty());
        if out.is_empty() {
            return false;
        }
        let time =
            rate.map_or(Duration::ZERO, |rate| Duration::from_nanos(out.len() as u64 * 1_000_000_000 / rate));
        self.free_at = Some(start + time);
        self.flying.push_back((start + time + latency, out.freeze()));
        true
    }

    fn deliver(&mut self, core: &mut Connection, now: Instant) -> bool {
        let mut any = false;
        while self.flying.front().is_some_and(|(at, _)| *at <= now) {
            let (_, octets) = self.flying.pop_front().unwrap();
            let _ = core.receive(now, octets);
            any = true;
        }
        any
    }

    /// The next moment after `now` at which something changes.
    fn next(&self, now: Instant) -> Option<Instant> {
        let arrival = self.flying.front().map(|(at, _)| *at);
        [arrival, self.free_at].into_iter().flatten().filter(|at| *at > now).min()
    }
}
