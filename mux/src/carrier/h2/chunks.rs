//! Octets on their way, in as few pieces as they need.

use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;

/// A queue of octets. Small pieces are copied together, so that octets cost octets; large ones stay as they are.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    whole: VecDeque<Bytes>,
    /// Small pieces behind the whole ones.
    tail: BytesMut,
    octets: usize,
}

impl Chunks {
    pub(super) const fn len(&self) -> usize {
        self.octets
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.octets == 0
    }

    pub(super) fn push(&mut self, chunk: Bytes) {
        if chunk.len() <= COPIED {
            self.push_slice(&chunk);
            return;
        }
        self.close_tail();
        self.octets = self.octets.saturating_add(chunk.len());
        self.whole.push_back(chunk);
    }

    pub(super) fn push_slice(&mut self, mut octets: &[u8]) {
        if octets.len() >= TAIL {
            self.close_tail();
            self.octets = self.octets.saturating_add(octets.len());
            self.whole.push_back(Bytes::copy_from_slice(octets));
            return;
        }
        while !octets.is_empty() {
            if self.tail.len() >= TAIL {
                self.close_tail();
            }
            let taken = octets.len().min(TAIL.saturating_sub(self.tail.len()));
            let (now, later) = octets.split_at(taken);
            self.tail.extend_from_slice(now);
            self.octets = self.octets.saturating_add(taken);
            octets = later;
        }
    }

    /// The next piece, of at most `most` octets.
    pub(super) fn pop(&mut self, most: usize) -> Option<Bytes> {
        let mut piece = match self.whole.pop_front() {
            Some(piece) => piece,
            None if self.tail.is_empty() => return None,
            // Whole, not split off: so there is no memory to share, nor a count of who does.
            None => std::mem::take(&mut self.tail).freeze(),
        };
        if piece.len() > most {
            self.whole.push_front(piece.split_off(most));
        }
        self.octets = self.octets.saturating_sub(piece.len());
        Some(piece)
    }

    /// Copies into `out`; says how much.
    pub(super) fn read(&mut self, out: &mut [u8]) -> usize {
        let mut read = 0;
        while let Some(room) = out.get_mut(read..).filter(|room| !room.is_empty()) {
            let source: &[u8] = match self.whole.front() {
                Some(front) => front,
                None => &self.tail,
            };
            let taken = source.len().min(room.len());
            if taken == 0 {
                break;
            }
            let (to, from) = (room.get_mut(..taken), source.get(..taken));
            if let (Some(to), Some(from)) = (to, from) {
                to.copy_from_slice(from);
            }
            self.skip(taken);
            read += taken;
        }
        read
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Drops octets of the first piece.
    fn skip(&mut self, octets: usize) {
        self.octets = self.octets.saturating_sub(octets);
        match self.whole.front_mut() {
            Some(front) if front.len() > octets => front.advance(octets),
            Some(_) => drop(self.whole.pop_front()),
            None => self.tail.advance(octets),
        }
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.whole.push_back(std::mem::take(&mut self.tail).freeze());
        }
    }
}

/// Pieces up to this are copied.
const COPIED: usize = 1024;
/// How much is copied into one piece.
const TAIL: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_come_out_as_they_went_in_however_they_are_taken() {
        let pieces = [1, 1023, 1024, 1025, 40_000, 3, 16_385, 0, 7];
        let mut all = Vec::new();
        for (round, most) in [1, 100, 1024, usize::MAX].into_iter().enumerate() {
            let mut chunks = Chunks::default();
            all.clear();
            for (at, length) in pieces.into_iter().enumerate() {
                let piece: Vec<u8> = (0..length).map(|n| u8::try_from((n * 7 + at) % 251).unwrap()).collect();
                all.extend_from_slice(&piece);
                if at % 2 == 0 { chunks.push(piece.into()) } else { chunks.push_slice(&piece) }
            }
            assert_eq!(chunks.len(), all.len());
            let mut out = Vec::new();
            while !chunks.is_empty() {
                if round % 2 == 0 {
                    let piece = chunks.pop(most).unwrap();
                    assert!(piece.len() <= most);
                    out.extend_from_slice(&piece);
                } else {
                    let mut buffer = vec![0; most.min(5_000)];
                    let read = chunks.read(&mut buffer);
                    assert!(read > 0);
                    out.extend_from_slice(&buffer[..read]);
                }
            }
            assert!(out == all, "{most}");
            assert_eq!(chunks.pop(1), None);
        }
    }

    #[test]
    fn m12_a_thousand_single_octets_are_one_piece() {
        let mut chunks = Chunks::default();
        (0..1_000).for_each(|_| chunks.push(Bytes::from_static(b"x")));
        assert_eq!(chunks.pop(usize::MAX).unwrap().len(), 1_000);
    }
}
