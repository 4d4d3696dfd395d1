use super::QuicVersion;
use crate::{AlertDescription, HelloError};

/// Why a datagram is dropped. Nothing is sent and nothing changes: whoever does not know a connection's keys can
/// neither start one nor disturb one that is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DatagramError {
    /// A first flight in a datagram of less than 1,200 bytes (RFC 9000 §14.1), in whatever version.
    #[error("a first flight of {bytes} bytes is smaller than 1200")]
    TooSmall {
        /// Length of the datagram.
        bytes: usize,
    },
    /// No long header (RFC 8999 §5.1), and no connection that it could belong to.
    #[error("the datagram belongs to no known connection")]
    UnknownConnection,
    /// The header is cut short, or claims a token or payload that is longer than the datagram.
    #[error("the packet header does not fit into the datagram")]
    Truncated,
    /// The fixed bit is zero (RFC 9000 §17.2).
    #[error("the fixed bit is zero")]
    FixedBitZero,
    /// A Version Negotiation packet, which only servers send.
    #[error("clients send no Version Negotiation")]
    VersionNegotiation,
    /// Another version than the connection has begun with.
    #[error("version {version:?} is not the connection's")]
    OtherVersion {
        /// The version of the datagram.
        version: QuicVersion,
    },
    /// A connection id of more than 20 bytes (RFC 9000 §17.2).
    #[error("a connection id of {bytes} bytes is longer than 20")]
    ConnectionIdTooLong {
        /// Its length.
        bytes: usize,
    },
    /// A first destination connection id of less than 8 bytes (RFC 9000 §7.2).
    #[error("a first destination connection id of {bytes} bytes is shorter than 8")]
    ConnectionIdTooShort {
        /// Its length.
        bytes: usize,
    },
    /// There is no Initial packet in the datagram.
    #[error("the datagram holds no Initial packet")]
    NoInitial,
    /// No Initial packet of the datagram opens with the client's keys: damaged, from a server, or of another connection.
    #[error("the Initial packet is not authentic")]
    NotAuthentic,
}

/// Why a connection is refused for good. What was kept of it can be freed.
///
/// All of these come from packets that opened with the right keys, so they are faults of the client and not of the
/// network. Yet those keys are no secret (RFC 9001 §5.2), so who sees the first packet can cause this as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InitialRefusal {
    /// A reserved bit of the header is set (RFC 9000 §17.2).
    #[error("a reserved bit of the packet header is set")]
    ReservedBits,
    /// A packet without any frame (RFC 9000 §12.4).
    #[error("a packet holds no frame")]
    EmptyPacket,
    /// A frame that may not stand in an Initial packet (RFC 9000 §12.4), or of an unknown type.
    #[error("frame {frame_type:#x} may not stand in an Initial packet")]
    ForbiddenFrame {
        /// The type of the frame.
        frame_type: u64,
    },
    /// A frame cut short, or one that contradicts itself.
    #[error("frame {frame_type:#x} is malformed")]
    MalformedFrame {
        /// The type of the frame.
        frame_type: u64,
    },
    /// The client closed the connection before its hello was complete.
    #[error("the client closed the connection")]
    Closed,
    /// CRYPTO data beyond the cap on the hello.
    #[error("CRYPTO data up to offset {end} passes {limit_bytes} bytes")]
    CryptoTooFar {
        /// Where the data would end; `u64::MAX` if that is not to be said in 64 bits.
        end: u64,
        /// The cap.
        limit_bytes: usize,
    },
    /// The same bytes of the hello were sent twice and differ: some parsers would take the first, others the last.
    #[error("two CRYPTO frames disagree about the bytes from offset {offset}")]
    CryptoConflict {
        /// Where the later of the frames starts.
        offset: usize,
    },
    /// The hello arrived in more pieces, with gaps between, than are kept.
    #[error("the hello is in more than {limit} pieces")]
    TooManyPieces {
        /// The cap.
        limit: usize,
    },
    /// The hello did not become complete in time.
    #[error("the hello did not arrive in time")]
    DeadlinePassed,
    /// The hello itself is refused.
    #[error(transparent)]
    Hello(HelloError),
}

impl InitialRefusal {
    /// The alert to close with, if the TLS part is at fault; the others are answered by silence.
    pub const fn alert(&self) -> Option<AlertDescription> {
        match self {
            Self::Hello(error) => error.alert(),
            Self::ReservedBits
            | Self::EmptyPacket
            | Self::ForbiddenFrame { .. }
            | Self::MalformedFrame { .. }
            | Self::Closed
            | Self::CryptoTooFar { .. }
            | Self::CryptoConflict { .. }
            | Self::TooManyPieces { .. }
            | Self::DeadlinePassed => None,
        }
    }

    /// A name for counters and logs, stable across versions.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::ReservedBits => "reserved_bits",
            Self::EmptyPacket => "empty_packet",
            Self::ForbiddenFrame { .. } => "forbidden_frame",
            Self::MalformedFrame { .. } => "malformed_frame",
            Self::Closed => "closed",
            Self::CryptoTooFar { .. } => "crypto_too_far",
            Self::CryptoConflict { .. } => "crypto_conflict",
            Self::TooManyPieces { .. } => "too_many_pieces",
            Self::DeadlinePassed => "deadline_passed",
            Self::Hello(error) => error.kind(),
        }
    }
}
