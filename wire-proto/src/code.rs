//! The codes with which a stream or a session ends (SPEC, "Codes").

use std::fmt;

/// Why a stream or a session ended, as it travels in RESET, STOP, GOAWAY and CLOSE.
///
/// An open value: codes that this version does not know survive decoding and encoding. Numbers below
/// `0x1_0000` belong to the protocol, those above to applications.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(u32);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal;)*) => {
        impl CloseCode {
            $($(#[$doc])* pub const $name: Self = Self($number);)*

            /// Every code with a name, in order of its number.
            pub const NAMED: &'static [(Self, &'static str)] = &[$((Self::$name, stringify!($name)),)*];
        }
    };
}

codes! {
    /// Nothing went wrong; the end was wanted.
    NONE = 0x00;
    /// The peer broke a rule that has no code of its own.
    PROTOCOL = 0x01;
    /// A body does not have the form that its kind prescribes.
    MALFORMED = 0x02;
    /// A frame or message is longer than its kind allows.
    FRAME_TOO_LARGE = 0x03;
    /// A mandatory frame kind that this version does not know.
    UNKNOWN_FRAME = 0x04;
    /// A frame or message that is not allowed in the present state.
    UNEXPECTED = 0x05;
    /// More data than the credit allowed.
    FLOW_CONTROL = 0x06;
    /// More streams than the credit allowed.
    STREAM_LIMIT = 0x07;
    /// A frame on a stream after its end.
    STREAM_CLOSED = 0x08;
    /// The peer spends our time without carrying payload.
    ENHANCE_CALM = 0x09;
    /// No version in common.
    UNSUPPORTED_VERSION = 0x0a;
    /// The credential was not accepted.
    AUTH_FAILED = 0x0b;
    /// The credential is good, but does not allow this.
    FORBIDDEN = 0x0c;
    /// A time limit of the protocol passed.
    TIMEOUT = 0x0d;
    /// We failed; nobody broke a rule.
    INTERNAL = 0x0e;
    /// The stream was not taken up and nothing of it was processed; it is safe to try again elsewhere.
    REFUSED = 0x10;
    /// Whoever read or wrote this stream went away.
    CANCELLED = 0x11;
    /// The session drains: finish, and connect again.
    DRAINING = 0x12;
    /// A newer registration took over; do not come back.
    SUPERSEDED = 0x13;
    /// The session is terminated; do not come back.
    TERMINATED = 0x14;
    /// The drain time is over.
    SHUTDOWN = 0x15;
    /// The agent could not connect to its upstream.
    UPSTREAM_UNREACHABLE = 0x20;
    /// The upstream did not answer in time.
    UPSTREAM_TIMEOUT = 0x21;
    /// The upstream reset the connection.
    UPSTREAM_RESET = 0x22;
    /// The stream head names a tunnel or a generation that the agent does not serve (any more).
    UNKNOWN_TUNNEL = 0x23;
}

impl CloseCode {
    /// The code with this number, known or not.
    pub const fn from_u32(number: u32) -> Self {
        Self(number)
    }

    /// The number as it stands on the wire.
    pub const fn as_u32(self) -> u32 {
        self.0
    }

    /// The name that the specification gives, if this version knows one.
    pub fn name(self) -> Option<&'static str> {
        Self::NAMED.iter().find(|(code, _)| *code == self).map(|(_, name)| *name)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "code {:#x}", self.0),
        }
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
