//! Frames on their way out, gathered for one write call.

use adit_wire_proto::frame::{Frame, FrameHeader, MAX_DATA_BYTES};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::IoSlice;

/// Octets to be written, in order: headers and small payloads together in one arena, large payloads as they are.
///
/// ```text
/// arena   [hdr|small|hdr]            [hdr]            [hdr|small]
/// slices  -----0-------- --1-payload- --2- --3-payload -----4-----
/// ```
///
/// How much it takes follows what the connection takes: what waits here can't be overtaken by a keystroke, so on a slow
/// link a batch is one frame of 4 KiB, and on a fast one up to 256 KiB.
#[derive(Debug)]
pub struct Batch {
    arena: Vec<u8>,
    /// How much of the arena is written.
    arena_written: usize,
    parts: VecDeque<Part>,
    bytes: usize,
    frames: usize,
    /// How many octets of payload to gather, [`Batch::LEAST_GOAL`] to [`Batch::MAX_BYTES`].
    goal: usize,
    /// Payloads up to this length are copied next to their header.
    copied_most: usize,
    scratch: BytesMut,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            arena: Vec::new(),
            arena_written: 0,
            parts: VecDeque::new(),
            bytes: 0,
            frames: 0,
            goal: 64 * 1024,
            copied_most: Self::COPIED_BYTES,
            scratch: BytesMut::new(),
        }
    }
}

#[derive(Debug)]
enum Part {
    /// The next so many octets of the arena.
    Arena(usize),
    Payload(Bytes),
}

impl Batch {
    /// Payloads up to this length are copied next to their header.
    pub(crate) const COPIED_BYTES: usize = 512;

    const MAX_FRAMES: usize = 4096;
    const MAX_BYTES: usize = 256 * 1024;
    const LEAST_GOAL: usize = 4 * 1024;
    const MAX_PARTS: usize = 120;

    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// A batch in one piece, for a connection that can't gather.
    #[cfg(feature = "tokio")]
    pub(crate) fn in_one_piece() -> Self {
        Self { copied_most: usize::MAX, ..Self::default() }
    }

    /// How many octets are left to write.
    pub const fn len(&self) -> usize {
        self.bytes
    }

    /// Whether all is written.
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Points `slices` at what comes next, as far as they suffice; says how many it used.
    pub fn gather<'batch>(&'batch self, slices: &mut [IoSlice<'batch>]) -> usize {
        let mut arena = self.arena.get(self.arena_written..).unwrap_or_default();
        let mut used = 0;
        for (slice, part) in slices.iter_mut().zip(&self.parts) {
            *slice = IoSlice::new(match part {
                Part::Arena(length) => {
                    let (part, rest) = arena.split_at_checked(*length).unwrap_or_default();
                    arena = rest;
                    part
                }
                Part::Payload(payload) => payload,
            });
            used += 1;
        }
        used
    }

    /// All that comes next, if it lies in one piece.
    #[cfg(feature = "tokio")]
    pub(crate) fn only_part(&self) -> Option<&[u8]> {
        if self.parts.len() != 1 {
            return None;
        }
        match self.parts.front()? {
            Part::Arena(length) => self.arena.get(self.arena_written..)?.get(..*length),
            Part::Payload(payload) => Some(payload),
        }
    }

    /// Takes note that the first `bytes` octets, of [`len`](Self::len) at most, are written, and that the connection
    /// takes no more now if some are left.
    pub fn advance(&mut self, bytes: usize) {
        self.took(bytes);
        if !self.is_empty() {
            self.gather_less();
        }
    }

    /// Takes note that the first `bytes` octets are written, whether or not the connection takes more: a TLS library
    /// takes what its buffer holds, and then the rest.
    pub(crate) fn took(&mut self, bytes: usize) {
        let mut left = bytes.min(self.bytes);
        if left == self.bytes && left >= self.goal {
            self.goal = (self.goal * 2).min(Self::MAX_BYTES);
        }
        self.bytes -= left;
        while left > 0 {
            let Some(part) = self.parts.front_mut() else { break };
            let taken = match part {
                Part::Arena(length) => {
                    let taken = left.min(*length);
                    *length -= taken;
                    self.arena_written += taken;
                    if *length == 0 {
                        self.parts.pop_front();
                    }
                    taken
                }
                Part::Payload(payload) => {
                    let taken = left.min(payload.len());
                    let _ = payload.split_to(taken);
                    if payload.is_empty() {
                        self.parts.pop_front();
                    }
                    taken
                }
            };
            left -= taken;
        }
        if self.bytes == 0 {
            self.arena.clear();
            self.arena_written = 0;
            self.parts.clear();
            self.frames = 0;
        }
    }

    /// Whether no more payload should be added before what is there is written.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= self.goal || self.has_no_room()
    }

    /// Whether the share of datagrams is used up: half, so that streams keep theirs.
    pub(crate) fn is_half_full(&self) -> bool {
        self.bytes >= self.goal / 2 || self.has_no_room()
    }

    /// Whether no further frame of any kind should be added.
    pub(crate) fn has_no_room(&self) -> bool {
        self.bytes >= Self::MAX_BYTES
            || self.frames >= Self::MAX_FRAMES
            || self.parts.len() >= Self::MAX_PARTS
    }

    /// Gathers less next time: the connection is full.
    pub(crate) fn gather_less(&mut self) {
        self.goal = (self.goal / 2).max(Self::LEAST_GOAL);
    }

    /// How long the payload of a frame may be: as much as should be gathered, at most one TLS record.
    pub(crate) fn frame_most(&self) -> usize {
        self.goal.min(usize::from(MAX_DATA_BYTES))
    }

    pub(crate) fn header(&mut self, header: FrameHeader) {
        self.frames += 1;
        self.copy(&header.encode());
    }

    /// Adds a whole frame; says how it begins.
    pub(crate) fn frame(&mut self, frame: &Frame) -> Option<FrameHeader> {
        self.frames += 1;
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        frame.encode(&mut scratch);
        self.copy(&scratch);
        let header = scratch.first_chunk().and_then(|octets| FrameHeader::decode(*octets).ok());
        self.scratch = scratch;
        header
    }

    /// Adds octets by copying them into the arena.
    pub(crate) fn copy(&mut self, octets: &[u8]) {
        if octets.is_empty() {
            return;
        }
        self.arena.extend_from_slice(octets);
        self.bytes += octets.len();
        match self.parts.back_mut() {
            Some(Part::Arena(length)) => *length += octets.len(),
            _ => self.parts.push_back(Part::Arena(octets.len())),
        }
    }

    /// Adds a payload, by copying it if it is small.
    pub(crate) fn push(&mut self, payload: Bytes) {
        if payload.len() <= self.copied_most {
            return self.copy(&payload);
        }
        self.bytes += payload.len();
        self.parts.push_back(Part::Payload(payload));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(batch: &mut Batch, mut step: impl FnMut() -> usize) -> Vec<u8> {
        let mut out = Vec::new();
        while !batch.is_empty() {
            let mut slices = [IoSlice::new(&[]); 4];
            let used = batch.gather(&mut slices);
            let all: Vec<u8> = slices[..used].iter().flat_map(|slice| slice.to_vec()).collect();
            let taken = step().clamp(1, all.len());
            out.extend_from_slice(&all[..taken]);
            batch.advance(taken);
        }
        out
    }

    #[test]
    fn mx31_any_prefix_of_a_vectored_write_leaves_the_rest_in_order() {
        for step in [1, 2, 3, 7, 600, 601, 5000] {
            let mut batch = Batch::new();
            let mut expected = Vec::new();
            for round in 0..5_u8 {
                for length in [3, 600, 1, 513] {
                    let payload = vec![round; length];
                    expected.extend_from_slice(&payload);
                    batch.push(payload.into());
                }
            }
            assert_eq!(batch.len(), expected.len());
            assert_eq!(written(&mut batch, || step), expected);
        }
    }
}
