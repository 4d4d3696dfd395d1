//! All frame kinds, in one place, with what a header alone can prove wrong.

use std::fmt;

/// The longest stream head that an OPEN may carry, in octets.
pub const MAX_HEAD_BYTES: u16 = 4096;

/// What a frame is, the first octet of its header.
///
/// An open value. Kinds with the high bit set are *skippable*: a receiver that doesn't know one ignores the frame. A
/// receiver that doesn't know a kind without it ends the session with `UNKNOWN_FRAME`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrameKind(u8);

/// Which ids a kind of frame may carry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Only 0: it concerns the session.
    Session,
    /// Never 0: it concerns one stream.
    Stream,
    /// Either.
    Any,
}

impl FrameKind {
    /// The first frame of either side: magic, versions, limits.
    pub const HELLO: Self = Self(0x00);
    /// Opens a stream and carries its head and the opener's first credit.
    pub const OPEN: Self = Self(0x01);
    /// Payload of a stream.
    pub const DATA: Self = Self(0x02);
    /// The absolute limit up to which the peer may send on a stream.
    pub const CREDIT: Self = Self(0x03);
    /// The absolute number of streams that the peer may have opened.
    pub const STREAMS: Self = Self(0x04);
    /// The sender of a stream gives up its sending half.
    pub const RESET: Self = Self(0x05);
    /// The receiver of a stream wants no more of it.
    pub const STOP: Self = Self(0x06);
    /// Asks for, or with ACK gives, a sign of life.
    pub const PING: Self = Self(0x07);
    /// No new streams above an id: the session drains.
    pub const GOAWAY: Self = Self(0x08);
    /// The session ends now.
    pub const CLOSE: Self = Self(0x09);
    /// One unreliable message of a flow.
    pub const DATAGRAM: Self = Self(0x80);
    /// A hint that the sender waits for credit.
    pub const BLOCKED: Self = Self(0x81);
    /// Octets without meaning, for the shape of traffic.
    pub const PAD: Self = Self(0x82);

    /// Every kind that this version knows, with its name.
    pub const NAMED: &'static [(Self, &'static str)] = &[
        (Self::HELLO, "HELLO"),
        (Self::OPEN, "OPEN"),
        (Self::DATA, "DATA"),
        (Self::CREDIT, "CREDIT"),
        (Self::STREAMS, "STREAMS"),
        (Self::RESET, "RESET"),
        (Self::STOP, "STOP"),
        (Self::PING, "PING"),
        (Self::GOAWAY, "GOAWAY"),
        (Self::CLOSE, "CLOSE"),
        (Self::DATAGRAM, "DATAGRAM"),
        (Self::BLOCKED, "BLOCKED"),
        (Self::PAD, "PAD"),
    ];

    /// The kind with this number, known or not.
    pub const fn from_u8(number: u8) -> Self {
        Self(number)
    }

    /// The number as it stands on the wire.
    pub const fn as_u8(self) -> u8 {
        self.0
    }

    /// Whether a receiver that doesn't know this kind ignores it.
    pub const fn is_skippable(self) -> bool {
        self.0 & 0x80 != 0
    }

    /// Whether this kind exists only so that skipping stays true: `0x8f`, `0x9f` … `0xff`.
    pub const fn is_reserved(self) -> bool {
        self.0 & 0x8f == 0x8f
    }

    /// One of the eight kinds that exist only so that skipping stays true; of `which` the lowest three bits count. Send
    /// one now and then, with any body: a peer that stumbles over it would stumble over the next version too.
    pub const fn reserved(which: u8) -> Self {
        Self(0x8f | (which & 7) << 4)
    }

    /// The name that the specification gives, if this version knows one.
    pub fn name(self) -> Option<&'static str> {
        Self::NAMED.iter().find(|(kind, _)| *kind == self).map(|(_, name)| *name)
    }

    /// The ids, the least and the longest body that this kind allows; `None` if this version doesn't know it.
    pub(super) const fn rule(self) -> Option<(Scope, u16, u16)> {
        const REASON: u16 = super::MAX_REASON_BYTES;
        Some(match self {
            Self::HELLO => (Scope::Session, 8, 1024),
            Self::OPEN => (Scope::Stream, 4, 4 + MAX_HEAD_BYTES),
            Self::DATA => (Scope::Stream, 0, u16::MAX),
            Self::CREDIT => (Scope::Stream, 8, 8),
            Self::STREAMS => (Scope::Session, 8, 8),
            Self::RESET | Self::STOP => (Scope::Stream, 4, 4),
            Self::PING => (Scope::Session, 8, 8),
            Self::GOAWAY => (Scope::Session, 8, 8 + REASON),
            Self::CLOSE => (Scope::Session, 4, 4 + REASON),
            Self::DATAGRAM => (Scope::Stream, 0, super::MAX_DATA_BYTES),
            Self::BLOCKED => (Scope::Any, 8, 8),
            Self::PAD => (Scope::Session, 0, u16::MAX),
            _ => return None,
        })
    }
}

impl fmt::Debug for FrameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "kind {:#04x}", self.0),
        }
    }
}
