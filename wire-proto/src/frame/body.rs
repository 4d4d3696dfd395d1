//! Frames with their bodies.

use super::{FrameError, FrameHeader, FrameKind, Hello};
use crate::CloseCode;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The longest reason in a GOAWAY or CLOSE, in octets.
pub const MAX_REASON_BYTES: u16 = 256;

/// One frame, decoded. Payloads are slices of what was read: nothing is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Frame {
    /// The first frame of either side.
    Hello(Hello),
    /// A new stream.
    Open {
        /// The next id of the opener's parity.
        id: u32,
        /// How many octets the acceptor may send before a CREDIT says more.
        credit: u32,
        /// The stream head, at most [`MAX_HEAD_BYTES`](super::MAX_HEAD_BYTES); opaque here.
        head: Bytes,
        /// Whether the opener sends nothing more.
        fin: bool,
    },
    /// Payload; empty only together with `fin`.
    Data {
        /// The stream.
        id: u32,
        /// The octets.
        payload: Bytes,
        /// Whether the sender sends nothing more.
        fin: bool,
    },
    /// The sum of octets that the peer may send on a stream, from its start on.
    Credit {
        /// The stream.
        id: u32,
        /// The limit.
        limit: u64,
    },
    /// The sum of streams that the peer may open, from the session's start on.
    Streams {
        /// The limit.
        limit: u64,
    },
    /// The sending half is given up.
    Reset {
        /// The stream.
        id: u32,
        /// Why.
        code: CloseCode,
    },
    /// The receiving half is given up.
    Stop {
        /// The stream.
        id: u32,
        /// Why.
        code: CloseCode,
    },
    /// A sign of life, asked for or (`ack`) given.
    Ping {
        /// Strictly rising.
        sequence: u64,
        /// Whether this answers one.
        ack: bool,
    },
    /// The session drains.
    GoAway {
        /// Streams of the receiver above it were not and will not be processed.
        last_id: u32,
        /// Why.
        code: CloseCode,
        /// Octets for a log, to be escaped.
        reason: Bytes,
        /// Whether this is the first warning, before the id is settled.
        heads_up: bool,
    },
    /// The session ends now.
    Close {
        /// Why.
        code: CloseCode,
        /// Octets for a log, to be escaped.
        reason: Bytes,
    },
    /// One unreliable message.
    Datagram {
        /// The flow.
        flow: u32,
        /// The message.
        payload: Bytes,
    },
    /// The sender waits for credit at this limit.
    Blocked {
        /// The stream, or 0 for streams as such.
        id: u32,
        /// Where it waits.
        limit: u64,
    },
    /// Nothing.
    Pad {
        /// How many octets of nothing.
        length: u16,
    },
    /// A skippable kind that this version doesn't know.
    Skipped {
        /// The kind.
        kind: FrameKind,
        /// The length of its body.
        length: u16,
    },
}

impl Frame {
    /// Reads the body that `header` announced.
    ///
    /// # Errors
    /// [`FrameError`] if the body has not the length or the form that the header's kind prescribes.
    pub fn decode(header: FrameHeader, mut body: Bytes) -> Result<Self, FrameError> {
        let (kind, length, id, flagged) = (header.kind(), header.length(), header.id(), header.is_flagged());
        if body.len() != usize::from(length) {
            return Err(FrameError::TooShort {
                kind,
                length: u16::try_from(body.len()).unwrap_or(u16::MAX),
                least: length,
            });
        }
        let short = |_| FrameError::TooShort { kind, length, least: 8 };
        Ok(match kind {
            FrameKind::HELLO => Self::Hello(Hello::decode(&body)?),
            FrameKind::OPEN => {
                Self::Open { id, credit: body.try_get_u32().map_err(short)?, head: body, fin: flagged }
            }
            FrameKind::DATA => Self::Data { id, payload: body, fin: flagged },
            FrameKind::CREDIT => Self::Credit { id, limit: body.try_get_u64().map_err(short)? },
            FrameKind::STREAMS => Self::Streams { limit: body.try_get_u64().map_err(short)? },
            FrameKind::RESET => Self::Reset { id, code: code(&mut body).map_err(short)? },
            FrameKind::STOP => Self::Stop { id, code: code(&mut body).map_err(short)? },
            FrameKind::PING => Self::Ping { sequence: body.try_get_u64().map_err(short)?, ack: flagged },
            FrameKind::GOAWAY => Self::GoAway {
                last_id: body.try_get_u32().map_err(short)?,
                code: code(&mut body).map_err(short)?,
                reason: body,
                heads_up: flagged,
            },
            FrameKind::CLOSE => Self::Close { code: code(&mut body).map_err(short)?, reason: body },
            FrameKind::DATAGRAM => Self::Datagram { flow: id, payload: body },
            FrameKind::BLOCKED => Self::Blocked { id, limit: body.try_get_u64().map_err(short)? },
            FrameKind::PAD => Self::Pad { length },
            _ => Self::Skipped { kind, length },
        })
    }

    /// Writes header and body. Heads and reasons over their limits are cut, payloads over 65,535 octets too: callers
    /// cut frames before they make them.
    pub fn encode(&self, out: &mut BytesMut) {
        let start = out.len();
        out.put_bytes(0, super::HEADER_BYTES);
        let (kind, flagged, id) = self.encode_body(out);
        // Invariant: `encode_body` wrote at most 65,535 octets.
        let length = u16::try_from(out.len() - start - super::HEADER_BYTES).unwrap_or(u16::MAX);
        let header = FrameHeader::new(kind, u8::from(flagged), length, id).encode();
        out[start..start + super::HEADER_BYTES].copy_from_slice(&header);
    }

    /// Whether [`encode`](Self::encode) writes all of it: no head, reason or payload is over its limit.
    pub fn fits(&self) -> bool {
        let within = |octets: &Bytes, limit: u16| octets.len() <= usize::from(limit);
        match self {
            Self::Open { head, .. } => within(head, super::MAX_HEAD_BYTES),
            Self::Data { payload, .. } => within(payload, u16::MAX),
            Self::GoAway { reason, .. } | Self::Close { reason, .. } => within(reason, MAX_REASON_BYTES),
            Self::Datagram { payload, .. } => within(payload, super::MAX_DATA_BYTES),
            Self::Hello(_)
            | Self::Credit { .. }
            | Self::Streams { .. }
            | Self::Reset { .. }
            | Self::Stop { .. }
            | Self::Ping { .. }
            | Self::Blocked { .. }
            | Self::Pad { .. }
            | Self::Skipped { .. } => true,
        }
    }

    fn encode_body(&self, out: &mut BytesMut) -> (FrameKind, bool, u32) {
        match self {
            Self::Hello(hello) => {
                hello.encode(out);
                (FrameKind::HELLO, false, 0)
            }
            Self::Open { id, credit, head, fin } => {
                out.put_u32(*credit);
                put(out, head, super::MAX_HEAD_BYTES);
                (FrameKind::OPEN, *fin, *id)
            }
            Self::Data { id, payload, fin } => {
                put(out, payload, u16::MAX);
                (FrameKind::DATA, *fin, *id)
            }
            Self::Credit { id, limit } => {
                out.put_u64(*limit);
                (FrameKind::CREDIT, false, *id)
            }
            Self::Streams { limit } => {
                out.put_u64(*limit);
                (FrameKind::STREAMS, false, 0)
            }
            Self::Reset { id, code } => {
                out.put_u32(code.as_u32());
                (FrameKind::RESET, false, *id)
            }
            Self::Stop { id, code } => {
                out.put_u32(code.as_u32());
                (FrameKind::STOP, false, *id)
            }
            Self::Ping { sequence, ack } => {
                out.put_u64(*sequence);
                (FrameKind::PING, *ack, 0)
            }
            Self::GoAway { last_id, code, reason, heads_up } => {
                out.put_u32(*last_id);
                out.put_u32(code.as_u32());
                put(out, reason, MAX_REASON_BYTES);
                (FrameKind::GOAWAY, *heads_up, 0)
            }
            Self::Close { code, reason } => {
                out.put_u32(code.as_u32());
                put(out, reason, MAX_REASON_BYTES);
                (FrameKind::CLOSE, false, 0)
            }
            Self::Datagram { flow, payload } => {
                put(out, payload, super::MAX_DATA_BYTES);
                (FrameKind::DATAGRAM, false, *flow)
            }
            Self::Blocked { id, limit } => {
                out.put_u64(*limit);
                (FrameKind::BLOCKED, false, *id)
            }
            Self::Pad { length } => {
                out.put_bytes(0, usize::from(*length));
                (FrameKind::PAD, false, 0)
            }
            Self::Skipped { kind, length } => {
                out.put_bytes(0, usize::from(*length));
                (*kind, false, 0)
            }
        }
    }
}

fn code(body: &mut Bytes) -> Result<CloseCode, bytes::TryGetError> {
    body.try_get_u32().map(CloseCode::from_u32)
}

fn put(out: &mut BytesMut, octets: &Bytes, limit: u16) {
    out.put_slice(octets.get(..usize::from(limit)).unwrap_or(octets));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(frame: &Frame) {
        let mut wire = BytesMut::new();
        frame.encode(&mut wire);
        let (header, body) = wire.split_first_chunk::<8>().unwrap();
        let header = FrameHeader::decode(*header).unwrap();
        assert_eq!(&Frame::decode(header, Bytes::copy_from_slice(body)).unwrap(), frame);
    }

    #[test]
    fn w01_every_kind_survives_a_round_trip() {
        let text = Bytes::from_static(b"text");
        let mut hello = Hello::new();
        hello.max_streams = 1024;
        hello.features = vec![super::super::Feature::DATAGRAM];
        round_trip(&Frame::Hello(hello));
        round_trip(&Frame::Open { id: 1, credit: 65_536, head: text.clone(), fin: false });
        round_trip(&Frame::Data { id: 2, payload: text.clone(), fin: true });
        round_trip(&Frame::Data { id: 2, payload: Bytes::new(), fin: true });
        round_trip(&Frame::Credit { id: 3, limit: u64::MAX });
        round_trip(&Frame::Streams { limit: 7 });
        round_trip(&Frame::Reset { id: 3, code: CloseCode::CANCELLED });
        round_trip(&Frame::Stop { id: 3, code: CloseCode::from_u32(0x1_0001) });
        round_trip(&Frame::Ping { sequence: 1, ack: true });
        round_trip(&Frame::GoAway {
            last_id: 9,
            code: CloseCode::DRAINING,
            reason: text.clone(),
            heads_up: true,
        });
        round_trip(&Frame::Close { code: CloseCode::NONE, reason: text.clone() });
        round_trip(&Frame::Datagram { flow: 4, payload: text });
        round_trip(&Frame::Blocked { id: 0, limit: 5 });
        round_trip(&Frame::Pad { length: 100 });
    }
}
