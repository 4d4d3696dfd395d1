//! Frames out of a stream of octets, however it is cut.

use super::{Frame, FrameError, FrameHeader, FrameKind, HEADER_BYTES};
use bytes::{Buf, BytesMut};

/// Takes frames off the front of a buffer.
///
/// The answer doesn't depend on how the input is cut. It reserves nothing, whatever a header announces: the caller's
/// buffer grows with what was received. Bodies without meaning ([`Frame::Pad`], [`Frame::Skipped`]) are thrown away as
/// they come. Work is linear in the input also when it comes octet by octet.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    awaited: Awaited,
}

#[derive(Clone, Copy, Debug, Default)]
enum Awaited {
    #[default]
    Header,
    Body(FrameHeader),
    /// Octets of a body without meaning that are still to be thrown away.
    Rest(FrameHeader, usize),
}

impl Decoder {
    /// A decoder at the start of a frame.
    pub const fn new() -> Self {
        Self { awaited: Awaited::Header }
    }

    /// The next whole frame, or `None` until more octets are appended to `input`.
    ///
    /// # Errors
    /// [`FrameError`]: the session is to be closed, and what is left in `input` has no meaning.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        loop {
            match self.awaited {
                Awaited::Header => {
                    let Some(octets) = input.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
                    let header = FrameHeader::decode(*octets)?;
                    input.advance(HEADER_BYTES);
                    self.awaited = if header.kind().is_meaningless() {
                        Awaited::Rest(header, usize::from(header.length()))
                    } else {
                        Awaited::Body(header)
                    };
                }
                Awaited::Body(header) => {
                    let length = usize::from(header.length());
                    if input.len() < length {
                        return Ok(None);
                    }
                    self.awaited = Awaited::Header;
                    return Frame::decode(header, input.split_to(length).freeze()).map(Some);
                }
                Awaited::Rest(header, left) => {
                    let here = left.min(input.len());
                    input.advance(here);
                    if here < left {
                        self.awaited = Awaited::Rest(header, left - here);
                        return Ok(None);
                    }
                    self.awaited = Awaited::Header;
                    return Ok(Some(match header.kind() {
                        FrameKind::PAD => Frame::Pad { length: header.length() },
                        kind => Frame::Skipped { kind, length: header.length() },
                    }));
                }
            }
        }
    }

    /// Whether the octets so far end between two frames: an end of the stream here cuts nothing off.
    pub const fn is_at_boundary(&self) -> bool {
        matches!(self.awaited, Awaited::Header)
    }
}

impl FrameKind {
    /// Whether a receiver throws the body away unread.
    fn is_meaningless(self) -> bool {
        self == Self::PAD || !self.is_known()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CloseCode;
    use crate::frame::{Feature, Hello};
    use bytes::Bytes;

    fn frames() -> Vec<Frame> {
        let mut hello = Hello::new();
        hello.max_streams = 7;
        hello.features = vec![Feature::DATAGRAM];
        let text = Bytes::from_static(b"payload");
        vec![
            Frame::Hello(hello),
            Frame::Open { id: 1, credit: 65_536, head: text.clone(), fin: false },
            Frame::Data { id: 1, payload: text.clone(), fin: false },
            Frame::Pad { length: 9 },
            Frame::Data { id: 1, payload: Bytes::new(), fin: true },
            Frame::Credit { id: 1, limit: 1 << 40 },
            Frame::Streams { limit: 3 },
            Frame::Reset { id: 1, code: CloseCode::CANCELLED },
            Frame::Stop { id: 1, code: CloseCode::CANCELLED },
            Frame::Ping { sequence: 1, ack: true },
            Frame::Skipped { kind: FrameKind::reserved(3), length: 11 },
            Frame::Datagram { flow: 1, payload: text.clone() },
            Frame::Blocked { id: 0, limit: 4 },
            Frame::GoAway { last_id: 0, code: CloseCode::DRAINING, reason: text.clone(), heads_up: true },
            Frame::Close { code: CloseCode::NONE, reason: text },
        ]
    }

    fn wire() -> BytesMut {
        let mut wire = BytesMut::new();
        frames().iter().for_each(|frame| frame.encode(&mut wire));
        wire
    }

    fn decode_all(chunks: impl Iterator<Item = Vec<u8>>) -> Vec<Frame> {
        let (mut decoder, mut input, mut out) = (Decoder::new(), BytesMut::new(), Vec::new());
        for chunk in chunks {
            input.extend_from_slice(&chunk);
            while let Some(frame) = decoder.decode(&mut input).unwrap() {
                out.push(frame);
            }
        }
        assert!(input.is_empty() && decoder.is_at_boundary());
        out
    }

    #[test]
    fn w02_the_frames_are_the_same_however_the_octets_are_cut() {
        let wire = wire();
        assert_eq!(decode_all([wire.to_vec()].into_iter()), frames());
        for size in [1, 2, 3, 7, 8, 9, 64] {
            assert_eq!(decode_all(wire.chunks(size).map(<[u8]>::to_vec)), frames(), "cut by {size}");
        }
        for cut in 0..wire.len() {
            let halves = [wire[..cut].to_vec(), wire[cut..].to_vec()];
            assert_eq!(decode_all(halves.into_iter()), frames(), "cut at {cut}");
        }
    }

    #[test]
    fn w02_every_prefix_of_every_frame_asks_for_more_and_reserves_nothing() {
        for frame in frames() {
            let mut wire = BytesMut::new();
            frame.encode(&mut wire);
            for cut in 0..wire.len() {
                let mut input = BytesMut::with_capacity(cut);
                input.extend_from_slice(&wire[..cut]);
                let before = input.capacity();
                assert_eq!(Decoder::new().decode(&mut input), Ok(None), "{frame:?} cut at {cut}");
                assert!(input.capacity() <= before, "{frame:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn w03_no_octet_is_reserved_for_a_length_that_is_announced() {
        // DATA of 65,535 octets, of which none come.
        let header = [0x02, 0, 0xff, 0xff, 0, 0, 0, 1];
        let counted = allocation_counter::measure(|| {
            let mut input = BytesMut::with_capacity(8);
            input.extend_from_slice(&header);
            assert_eq!(Decoder::new().decode(&mut input), Ok(None));
        });
        assert!(counted.bytes_max < 256, "{} octets", counted.bytes_max);
    }

    #[test]
    fn w05_a_frame_of_an_unknown_skippable_kind_is_skipped_by_exactly_its_length() {
        let mut input = BytesMut::from(&[0xaa, 0, 0, 3, 0, 0, 0, 0, 9, 9, 9][..]);
        Frame::Ping { sequence: 5, ack: false }.encode(&mut input);
        let mut decoder = Decoder::new();
        let kind = FrameKind::from_u8(0xaa);
        assert_eq!(decoder.decode(&mut input), Ok(Some(Frame::Skipped { kind, length: 3 })));
        assert_eq!(decoder.decode(&mut input), Ok(Some(Frame::Ping { sequence: 5, ack: false })));
    }

    #[test]
    fn a_stream_of_data_frames_costs_one_allocation_for_its_buffer_and_none_per_frame() {
        let mut wire = BytesMut::new();
        for _ in 0..64 {
            Frame::Data { id: 1, payload: Bytes::from(vec![7; 16_376]), fin: false }.encode(&mut wire);
        }
        let mut decoder = Decoder::new();
        // The first frame turns the buffer into a shared one.
        assert!(decoder.decode(&mut wire).unwrap().is_some());
        let counted = allocation_counter::measure(|| {
            for _ in 1..64 {
                assert!(decoder.decode(&mut wire).unwrap().is_some());
            }
        });
        assert_eq!(counted.count_total, 0);
    }
}
