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

/// What a header alone can prove wrong, for one kind.
#[derive(Clone, Copy)]
pub(super) struct Rule {
    /// Whether the id 0 is allowed: the session is meant.
    session: bool,
    /// Whether other ids are: one stream is meant.
    stream: bool,
    /// Flag bits with a meaning; the others are cleared.
    pub(super) flags: u8,
    /// The least and the longest body, in octets.
    pub(super) least: u16,
    pub(super) most: u16,
}

impl Rule {
    /// No header passes.
    const MANDATORY: Self = Self { least: 1, most: 0, ..Self::SKIPPED };
    /// Every header passes, and its flags mean nothing.
    const SKIPPED: Self = Self { session: true, stream: true, flags: 0, least: 0, most: u16::MAX };

    const fn session(flags: u8, least: u16, most: u16) -> Self {
        Self { session: true, stream: false, flags, least, most }
    }

    const fn stream(flags: u8, least: u16, most: u16) -> Self {
        Self { session: false, stream: true, flags, least, most }
    }

    pub(super) const fn allows_id(self, id: u32) -> bool {
        if id == 0 { self.session } else { self.stream }
    }

    pub(super) const fn allows_length(self, length: u16) -> bool {
        self.least <= length && length <= self.most
    }
}

/// The rule of every first octet, so that a header costs one look here.
static RULES: [Rule; 256] = rules();

const fn rules() -> [Rule; 256] {
    let mut rules = [Rule::MANDATORY; 256];
    let (_, skippable) = rules.split_at_mut(128);
    let mut at = 0;
    while at < skippable.len() {
        skippable[at] = Rule::SKIPPED;
        at += 1;
    }
    let mut at = 0;
    while at < FrameKind::NAMED.len() {
        let kind = FrameKind::NAMED[at].0;
        #[expect(
            clippy::as_conversions,
            reason = "`From` can't be called in a constant; every u8 is a usize"
        )]
        let place = kind.0 as usize;
        rules[place] = kind.known_rule();
        at += 1;
    }
    rules
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

    /// Whether this version knows the kind.
    pub(super) const fn is_known(self) -> bool {
        matches!(self.0, 0x00..=0x09 | 0x80..=0x82)
    }

    /// What a header of this kind, known or not, must be like.
    #[inline]
    pub(super) fn rule(self) -> Rule {
        RULES[usize::from(self.0)]
    }

    const fn known_rule(self) -> Rule {
        const REASON: u16 = super::MAX_REASON_BYTES;
        match self {
            Self::HELLO => Rule::session(0, 8, 1024),
            Self::OPEN => Rule::stream(1, 4, 4 + MAX_HEAD_BYTES),
            Self::DATA => Rule::stream(1, 0, u16::MAX),
            Self::CREDIT => Rule::stream(0, 8, 8),
            Self::STREAMS => Rule::session(0, 8, 8),
            Self::RESET | Self::STOP => Rule::stream(0, 4, 4),
            Self::PING => Rule::session(1, 8, 8),
            Self::GOAWAY => Rule::session(1, 8, 8 + REASON),
            Self::CLOSE => Rule::session(0, 4, 4 + REASON),
            Self::DATAGRAM => Rule::stream(0, 0, super::MAX_DATA_BYTES),
            Self::BLOCKED => Rule { stream: true, ..Rule::session(0, 8, 8) },
            Self::PAD => Rule::session(0, 0, u16::MAX),
            Self(_) => Rule::MANDATORY,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_that_are_known_are_those_with_a_name() {
        for number in 0..=u8::MAX {
            let kind = FrameKind::from_u8(number);
            assert_eq!(kind.is_known(), kind.name().is_some(), "{kind:?}");
            let passes = kind.rule().least <= kind.rule().most;
            assert_eq!(passes, kind.is_known() || kind.is_skippable(), "{kind:?}");
        }
    }
}
