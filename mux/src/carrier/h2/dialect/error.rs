//! Why a stream or a connection is no more.

use crate::Origin;
use std::io;

/// Why a stream or a connection is no more, or a call had no effect. Codes are HTTP/2's, or the dialect's, as they came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The stream was reset with RST_STREAM. The connection goes on.
    #[error("the stream was reset with {code:#x} by {by:?}")]
    Reset {
        /// The code in the frame.
        code: u32,
        /// Who sent it.
        by: Origin,
    },
    /// The connection was given up with GOAWAY, and this stream with it. Debug data that the peer sent with it is not told:
    /// crate `h2` keeps it to itself.
    #[error("the connection was given up with {code:#x} by {by:?}")]
    GoneAway {
        /// The code in the frame.
        code: u32,
        /// Who sent it: this side when the peer broke a rule of HTTP/2.
        by: Origin,
    },
    /// The connection failed. Whether the peer acted on what was under way isn't known.
    #[error("the connection failed: {kind}")]
    Io {
        /// What the operating system says.
        kind: io::ErrorKind,
    },
    /// The peer's settings don't allow extended CONNECT. Nothing was sent.
    #[error("the peer takes no extended CONNECT")]
    NotOffered,
    /// The call doesn't fit: the half has ended, more was released than came, or the head can't be sent. Nothing changed.
    #[error("the call does not fit the state of the stream")]
    Misplaced,
    /// The peer didn't take everything in time. The connection was given up without a word.
    #[error("the peer took too long")]
    TimedOut,
}

impl LinkError {
    /// The code in the frame, if a frame ended it.
    pub const fn code(&self) -> Option<u32> {
        match self {
            Self::Reset { code, .. } | Self::GoneAway { code, .. } => Some(*code),
            Self::Io { .. } | Self::NotOffered | Self::Misplaced | Self::TimedOut => None,
        }
    }
}

impl From<h2::Error> for LinkError {
    fn from(error: h2::Error) -> Self {
        if let Some(error) = error.get_io() {
            return Self::Io { kind: error.kind() };
        }
        let by = Origin::local_if(!error.is_remote());
        match error.reason() {
            Some(code) if error.is_go_away() => Self::GoneAway { code: code.into(), by },
            Some(code) => Self::Reset { code: code.into(), by },
            None => Self::Misplaced,
        }
    }
}

impl From<LinkError> for io::Error {
    fn from(error: LinkError) -> Self {
        let kind = match error {
            LinkError::Reset { .. } | LinkError::GoneAway { .. } => io::ErrorKind::ConnectionReset,
            LinkError::Io { kind } => kind,
            LinkError::NotOffered => io::ErrorKind::Unsupported,
            LinkError::Misplaced => io::ErrorKind::NotConnected,
            LinkError::TimedOut => io::ErrorKind::TimedOut,
        };
        Self::new(kind, error)
    }
}
