//! What can be wrong with a frame, and the code that the session then ends with.

use super::{FrameKind, HelloError};
use crate::CloseCode;

/// The peer sent a frame that no state allows. Nothing of it was taken; end the session with
/// [`close_code`](Self::close_code).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A mandatory kind that this version doesn't know.
    #[error("{kind:?} is mandatory and unknown to this version")]
    UnknownKind {
        /// The kind.
        kind: FrameKind,
    },
    /// The body is longer than its kind allows.
    #[error("{kind:?} of {length} octets is over its limit of {limit}")]
    TooLarge {
        /// The kind.
        kind: FrameKind,
        /// What the header announced.
        length: u16,
        /// What the kind allows.
        limit: u16,
    },
    /// The body is shorter than its kind needs.
    #[error("{kind:?} of {length} octets is shorter than the {least} it needs")]
    TooShort {
        /// The kind.
        kind: FrameKind,
        /// What the header announced.
        length: u16,
        /// What the kind needs.
        least: u16,
    },
    /// Octets after the fields of a kind that has a fixed length.
    #[error("{kind:?} of {length} octets is longer than its {exact}")]
    Trailing {
        /// The kind.
        kind: FrameKind,
        /// What the header announced.
        length: u16,
        /// What the kind has.
        exact: u16,
    },
    /// A stream's frame with id 0, or the session's frame with another.
    #[error("{kind:?} can't carry id {id}")]
    WrongId {
        /// The kind.
        kind: FrameKind,
        /// The id.
        id: u32,
    },
    /// DATA without payload and without FIN: it says nothing.
    #[error("DATA without payload and without FIN")]
    EmptyData,
    /// The HELLO has another form than the specification's.
    #[error("malformed HELLO")]
    Hello(#[from] HelloError),
}

impl FrameError {
    /// The code to close the session with.
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::UnknownKind { .. } => CloseCode::UNKNOWN_FRAME,
            Self::TooLarge { .. } => CloseCode::FRAME_TOO_LARGE,
            Self::TooShort { .. } | Self::Trailing { .. } | Self::EmptyData => CloseCode::MALFORMED,
            Self::WrongId { .. } => CloseCode::PROTOCOL,
            Self::Hello(error) => error.close_code(),
        }
    }
}
