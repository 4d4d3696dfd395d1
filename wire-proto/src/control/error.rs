//! How a control stream fails.

use crate::{CloseCode, MessageError};

/// The control stream is over: the peer broke a rule or took too long. End the session with
/// [`close_code`](Self::close_code).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// A message that breaks the specification by itself.
    #[error("the peer sent a bad message: {source}")]
    Message {
        /// How.
        #[from]
        source: MessageError,
    },
    /// A message that the present state doesn't allow.
    #[error("{message} is not allowed while {state}")]
    Unexpected {
        /// What came.
        message: &'static str,
        /// What was awaited.
        state: &'static str,
    },
    /// No version in common.
    #[error("no version of the control protocol in common")]
    Version,
    /// A proof is missing, bound to something else, or wrong. On the agent's side: the gateway doesn't know the
    /// credential, so don't trust it.
    #[error("the peer didn't prove that it knows the credential")]
    Proof,
    /// More requests, or more messages without meaning, than the limits allow.
    #[error("the peer sends more than the limits allow")]
    Excessive,
    /// The peer took longer than the deadline.
    #[error("the peer took too long: {awaited}")]
    Timeout {
        /// What was awaited.
        awaited: &'static str,
    },
    /// The time that the drain had is over; whoever drains says so, and the session ends.
    #[error("the drain time is over")]
    DrainOver,
    /// The stream has ended before; nothing of this input was looked at.
    #[error("the control stream has ended")]
    Ended,
}

impl ControlError {
    /// The code to close the session with.
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::Message { source } => source.close_code(),
            Self::Unexpected { .. } | Self::Ended => CloseCode::UNEXPECTED,
            Self::Version => CloseCode::UNSUPPORTED_VERSION,
            Self::Proof => CloseCode::AUTH_FAILED,
            Self::Excessive => CloseCode::ENHANCE_CALM,
            Self::Timeout { .. } => CloseCode::TIMEOUT,
            Self::DrainOver => CloseCode::SHUTDOWN,
        }
    }
}

/// Our caller asked for something that can't be sent. Nothing was sent, and the session lives.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// Not in the present state.
    #[error("not possible while {state}")]
    State {
        /// The state.
        state: &'static str,
    },
    /// As many requests as the limit allows await their answers already.
    #[error("{limit} requests await their answers already")]
    TooManyRequests {
        /// The limit.
        limit: u32,
    },
    /// The number is of no request that awaits an answer, or of one of another kind.
    #[error("no request of this number and kind awaits an answer")]
    NoSuchRequest,
    /// A field, or the whole, is over its limit.
    #[error("the message breaks a limit: {source}")]
    Message {
        /// How.
        #[from]
        source: MessageError,
    },
}
