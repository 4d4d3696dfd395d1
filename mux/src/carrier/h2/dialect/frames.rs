//! Where frames begin and end in what is written, and the one frame that is written here.

use bytes::{BufMut, Bytes, BytesMut};

/// Follows what was written, so that a frame of ours can stand between two of HTTP/2's.
///
/// ```text
/// preface (24, the client's) | length (3) type (1) flags (1) stream (4) | payload (length) | length ..
/// ```
#[derive(Debug)]
pub(super) struct Frames {
    /// Octets to come of the preface, or of the payload of a frame.
    rest: usize,
    /// The length of the frame that begins, as far as it is known.
    length: usize,
    /// Octets of the header that have been seen.
    seen: usize,
}

impl Frames {
    pub(super) const fn of_client() -> Self {
        Self { rest: PREFACE_BYTES, length: 0, seen: 0 }
    }

    pub(super) const fn of_server() -> Self {
        Self { rest: 0, length: 0, seen: 0 }
    }

    /// These octets were written.
    pub(super) fn wrote(&mut self, mut octets: &[u8]) {
        loop {
            let skipped = self.rest.min(octets.len());
            self.rest -= skipped;
            octets = octets.get(skipped..).unwrap_or_default();
            let Some((octet, later)) = octets.split_first() else { return };
            octets = later;
            if self.seen < LENGTH_BYTES {
                self.length = self.length << 8 | usize::from(*octet);
            }
            self.seen += 1;
            if self.seen == HEADER_BYTES {
                (self.rest, self.length, self.seen) = (self.length, 0, 0);
            }
        }
    }

    /// Whether the next octet begins a frame.
    pub(super) const fn is_between(&self) -> bool {
        self.rest == 0 && self.seen == 0
    }
}

/// GOAWAY (RFC 9113 section 6.8): streams of the peer above `last_id` were not acted on.
///
/// `debug_data` is cut so that the frame is one that every peer takes.
pub(super) fn goaway(last_id: u32, code: u32, debug_data: &[u8]) -> Bytes {
    let debug_data = debug_data.get(..MOST_DEBUG_BYTES).unwrap_or(debug_data);
    let length = u32::try_from(debug_data.len()).unwrap_or(0).saturating_add(8);
    let mut frame = BytesMut::with_capacity(HEADER_BYTES + 8 + debug_data.len());
    frame.put_uint(length.into(), LENGTH_BYTES);
    frame.put_slice(&[GOAWAY, 0]);
    frame.put_u32(0);
    frame.put_u32(last_id & 0x7fff_ffff);
    frame.put_u32(code);
    frame.put_slice(debug_data);
    frame.freeze()
}

const PREFACE_BYTES: usize = 24;
const HEADER_BYTES: usize = 9;
const LENGTH_BYTES: usize = 3;
const GOAWAY: u8 = 0x7;
/// A frame of 16,384 octets is one that every peer takes.
const MOST_DEBUG_BYTES: usize = 16_384 - 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boundary_is_found_however_the_octets_were_cut() {
        let mut written = vec![0; PREFACE_BYTES];
        let mut ends = vec![PREFACE_BYTES];
        for length in [0_u8, 1, 8, 255] {
            written.extend_from_slice(&[0, 0, length, 0, 0, 0, 0, 0, 1]);
            written.extend(std::iter::repeat_n(0xff, usize::from(length)));
            ends.push(written.len());
        }
        written.extend_from_slice(&[1, 0, 2, 0, 0, 0, 0, 0, 3]);
        written.extend(std::iter::repeat_n(7, 0x1_0002));
        ends.push(written.len());
        for size in [1, 2, 5, 9, 10, 4_096, usize::MAX] {
            let (mut frames, mut at) = (Frames::of_client(), 0);
            for piece in written.chunks(size) {
                frames.wrote(piece);
                at += piece.len();
                assert_eq!(frames.is_between(), ends.contains(&at), "{size}: {at}");
            }
        }
        assert!(Frames::of_server().is_between());
    }

    #[test]
    fn goaway_is_as_rfc_9113_has_it_and_fits_every_peer() {
        let frame = goaway(0x8000_0005, 0xad17_0012, b"why");
        let expected = [0, 0, 11, 7, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0xad, 0x17, 0, 0x12, b'w', b'h', b'y'];
        assert_eq!(frame.as_ref(), expected);
        assert_eq!(goaway(0, 0, &[7; 20_000]).len(), 9 + 16_384);
    }
}
