//! Why sessions and streams end.

use adit_wire_proto::CloseCode;
use adit_wire_proto::frame::FrameError;
use bytes::Bytes;
use std::io;

/// Why a session ended. Every stream of it ended with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionEnd {
    /// This side closed it.
    #[error("closed by this side with {code}")]
    Local {
        /// The code that the peer was told.
        code: CloseCode,
        /// The reason that the peer was told.
        reason: Bytes,
    },
    /// The peer closed it.
    #[error("closed by the peer with {code}")]
    Peer {
        /// The peer's code.
        code: CloseCode,
        /// The peer's reason, at most 256 octets, not to be trusted: escape it in logs.
        reason: Bytes,
    },
    /// The peer broke a rule, and was told so with CLOSE.
    #[error("the peer broke a rule: {0}")]
    Violation(#[from] Violation),
    /// A time limit passed.
    #[error("{which}")]
    TimedOut {
        /// Which one.
        which: Timeout,
    },
    /// The connection ended without CLOSE.
    #[error("the connection ended without CLOSE")]
    Cut,
    /// The connection failed.
    #[error("the connection failed: {kind}")]
    Io {
        /// What the operating system says.
        kind: io::ErrorKind,
    },
    /// The driver's future was dropped before the session ended.
    #[error("the driver was dropped")]
    DriverDropped,
    /// QUIC or HTTP/2 itself failed, on either side.
    #[error("the carrier failed with its error {code:#x}")]
    Carrier {
        /// QUIC's transport error or HTTP/2's error code; `u64::MAX` for those without a number.
        code: u64,
    },
}

impl SessionEnd {
    /// The code that this end carries or would carry on the wire.
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::Local { code, .. } | Self::Peer { code, .. } => *code,
            Self::Violation(violation) => violation.close_code(),
            Self::TimedOut { .. } => CloseCode::TIMEOUT,
            Self::Cut | Self::Io { .. } | Self::DriverDropped | Self::Carrier { .. } => CloseCode::CANCELLED,
        }
    }
}

impl From<io::Error> for SessionEnd {
    /// A connection that judges what it carries, as a WebSocket does, puts the [`Violation`] into its error.
    fn from(error: io::Error) -> Self {
        let violation = error.get_ref().and_then(|inner| inner.downcast_ref::<Violation>());
        violation.map_or(Self::Io { kind: error.kind() }, |violation| Self::Violation(violation.clone()))
    }
}

/// A time limit that ended a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Timeout {
    /// The peer's HELLO did not come.
    #[error("the peer's HELLO did not come in time")]
    Handshake,
    /// A frame began and did not end.
    #[error("a frame began and did not end in time")]
    PartialFrame,
    /// The peer was silent and did not answer.
    #[error("the peer gave no sign of life")]
    Silence,
    /// The connection took no output.
    #[error("the connection took no output")]
    WriteStall,
}

/// A rule that the peer broke. The session ends with [`close_code`](Self::close_code).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A frame that no state allows.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Another frame than HELLO came first.
    #[error("the first frame is not HELLO")]
    HelloExpected,
    /// HELLO came twice.
    #[error("a second HELLO")]
    SecondHello,
    /// No version in common.
    #[error("no version in common")]
    NoCommonVersion,
    /// An OPEN whose id is not the next one of the peer's parity.
    #[error("OPEN of stream {id}, but {expected} is next")]
    StreamOrder {
        /// The id that came.
        id: u32,
        /// The id that was due.
        expected: u32,
    },
    /// An OPEN beyond the streams granted.
    #[error("OPEN of stream {id} is over the streams granted")]
    StreamLimit {
        /// The id.
        id: u32,
    },
    /// A frame for a stream that was never opened.
    #[error("a frame for stream {id}, which was never opened")]
    UnknownStream {
        /// The id.
        id: u32,
    },
    /// DATA past the credit given.
    #[error("DATA for stream {id} is over its credit")]
    FlowControl {
        /// The stream.
        id: u32,
    },
    /// DATA after the end of its half of the stream.
    #[error("DATA for stream {id} after its end")]
    AfterEnd {
        /// The stream.
        id: u32,
    },
    /// An answer to a PING that was never sent, or a PING whose sequence does not rise.
    #[error("PING {sequence} is out of sequence")]
    PingSequence {
        /// The sequence that came.
        sequence: u64,
    },
    /// A GOAWAY whose last id rises, or names a stream that was never opened.
    #[error("GOAWAY up to {last_id} is impossible")]
    GoAwayId {
        /// The id that came.
        last_id: u32,
    },
    /// A datagram that is longer than what was offered.
    #[error("a datagram of {length} octets is over the limit of {limit}")]
    DatagramTooLarge {
        /// Its length.
        length: u16,
        /// The limit that our HELLO named.
        limit: u16,
    },
    /// A frame that the carrier's control stream doesn't carry, or the end of that stream.
    #[error("the control stream of the carrier carried something else, or ended")]
    UnexpectedFrame,
    /// A text message on a WebSocket, which carries binary ones only.
    #[error("a text message on a WebSocket")]
    TextMessage,
    /// A message on a WebSocket that is longer than what is taken.
    #[error("a message on a WebSocket is too long")]
    MessageTooLong,
    /// A frame on a WebSocket that breaks a rule of WebSocket.
    #[error("a frame on a WebSocket breaks a rule: {rule}")]
    MessageFrame {
        /// The rule, for logs.
        rule: &'static str,
    },
    /// Too many frames of a kind that costs work and brings nothing.
    #[error("too many {what}")]
    Budget {
        /// Frames of which kind.
        what: Abuse,
    },
}

impl Violation {
    /// The code to close the session with.
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::Frame(error) => error.close_code(),
            Self::HelloExpected | Self::SecondHello | Self::UnexpectedFrame => CloseCode::UNEXPECTED,
            Self::NoCommonVersion => CloseCode::UNSUPPORTED_VERSION,
            Self::StreamOrder { .. }
            | Self::UnknownStream { .. }
            | Self::PingSequence { .. }
            | Self::GoAwayId { .. }
            | Self::TextMessage
            | Self::MessageFrame { .. } => CloseCode::PROTOCOL,
            Self::StreamLimit { .. } => CloseCode::STREAM_LIMIT,
            Self::FlowControl { .. } => CloseCode::FLOW_CONTROL,
            Self::AfterEnd { .. } => CloseCode::STREAM_CLOSED,
            Self::DatagramTooLarge { .. } | Self::MessageTooLong => CloseCode::FRAME_TOO_LARGE,
            Self::Budget { .. } => CloseCode::ENHANCE_CALM,
        }
    }
}

/// What a peer did too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Abuse {
    /// Frames without effect: old credit, late STOP, skipped kinds, padding.
    #[error("frames without effect")]
    UselessFrames,
    /// Unread DATA of a few octets each.
    #[error("unread DATA frames of a few octets")]
    SmallData,
    /// Streams that had to be reset.
    #[error("streams that had to be reset")]
    ForcedResets,
    /// Streams that were opened and reset before an octet of theirs had come.
    #[error("streams that were reset as soon as they were opened")]
    RapidResets,
    /// PINGs.
    #[error("PINGs")]
    Pings,
}

/// Why a stream can't be read or written any more.
///
/// Errors of `AsyncRead` and `AsyncWrite` carry it inside; see [`StreamError::of`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The peer gave up its sending half: nothing more will come.
    #[error("the peer reset the stream with {code}")]
    Reset {
        /// The peer's code.
        code: CloseCode,
    },
    /// The peer wants no more: what was written may not have been read.
    #[error("the peer stopped the stream with {code}")]
    Stopped {
        /// The peer's code.
        code: CloseCode,
    },
    /// The peer never saw the stream; it is safe to open another one elsewhere.
    #[error("the session drained before the peer saw the stream")]
    Refused,
    /// This side has ended this half already.
    #[error("this half of the stream has ended")]
    Ended,
    /// The session ended.
    #[error("the session ended: {0}")]
    Session(SessionEnd),
}

impl StreamError {
    /// The code that this end carries.
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::Reset { code } | Self::Stopped { code } => *code,
            Self::Refused => CloseCode::REFUSED,
            Self::Ended => CloseCode::NONE,
            Self::Session(end) => end.close_code(),
        }
    }

    /// The stream's error inside an `io::Error` that one of this crate's streams gave.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        let kind = match &error {
            StreamError::Reset { .. } | StreamError::Refused => io::ErrorKind::ConnectionReset,
            StreamError::Stopped { .. } | StreamError::Ended => io::ErrorKind::BrokenPipe,
            StreamError::Session(_) => io::ErrorKind::ConnectionAborted,
        };
        Self::new(kind, error)
    }
}

/// Why no stream was opened. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The head is longer than 4,096 octets.
    #[error("a stream head of {length} octets is over the limit of 4096")]
    HeadTooLarge {
        /// Its length.
        length: usize,
    },
    /// One side drains the session: open streams on a newer one.
    #[error("the session drains")]
    Draining,
    /// The session ended.
    #[error("the session ended: {0}")]
    Session(SessionEnd),
}

/// Why a datagram was not taken. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DatagramError {
    /// It is longer than the peer takes; a limit of 0 means that it takes none.
    #[error("a datagram of {length} octets is over the peer's limit of {limit}")]
    TooLarge {
        /// Its length.
        length: usize,
        /// What the peer takes.
        limit: usize,
    },
    /// Flow 0 is not a flow.
    #[error("0 is not a flow")]
    NoFlow,
    /// The session ended, or has not begun.
    #[error("the session is not open")]
    NotOpen,
}
