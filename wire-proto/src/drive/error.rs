//! How a driven control stream fails.

use crate::CloseCode;
use crate::control::{CommandError, ControlError};
use adit_errors::Envelope;
use std::io;

/// The control stream is over. End the session with [`close_code`](Self::close_code).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriveError {
    /// The peer broke a rule or took too long.
    #[error("the control stream failed: {source}")]
    Control {
        /// How.
        #[from]
        source: ControlError,
    },
    /// The stream itself failed.
    #[error("the control stream was cut off: {source}")]
    Io {
        /// How.
        #[from]
        source: io::Error,
    },
    /// The peer closed the stream.
    #[error("the peer closed the control stream")]
    Closed {},
    /// Our caller asked for something that can't be sent.
    #[error("not sent: {source}")]
    Command {
        /// What.
        #[from]
        source: CommandError,
    },
}

impl DriveError {
    /// The code to close the session with.
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::Control { source } => source.close_code(),
            Self::Io { .. } | Self::Closed {} => CloseCode::NONE,
            Self::Command { .. } => CloseCode::INTERNAL,
        }
    }
}

/// An agent was not let in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The gateway said no; the envelope says what to do next.
    #[error("the gateway refused: {refusal}")]
    Refused {
        /// Its answer.
        refusal: Box<Envelope>,
    },
    /// The control stream failed.
    #[error(transparent)]
    Failed(#[from] DriveError),
}

/// A request was not granted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The gateway said no; the session lives, and the envelope says what to do next.
    #[error("the gateway refused: {refusal}")]
    Refused {
        /// Its answer.
        refusal: Box<Envelope>,
    },
    /// Not sent; the session lives.
    #[error("not sent: {source}")]
    Command {
        /// Why.
        #[from]
        source: CommandError,
    },
    /// The control stream is over.
    #[error(transparent)]
    Failed(DriveError),
}
