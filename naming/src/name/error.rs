//! Why a text is no name.

use thiserror::Error;

/// Why a text is no name. Positions count bytes from zero, so that a form can point at the place.
///
/// The text itself isn't kept: it may be megabytes of someone else's. [`TunnelName::suggest`](crate::TunnelName::suggest)
/// offers a repaired form.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameError {
    /// Fewer than three octets.
    #[error("a name has at least 3 characters, this one has {length}")]
    TooShort {
        /// Octets found.
        length: usize,
    },
    /// More than 63 octets.
    #[error("a name has at most 63 characters, this one has {length}")]
    TooLong {
        /// Octets found.
        length: usize,
    },
    /// An ASCII capital letter.
    #[error("a name is lower case, there is a capital letter at byte {at}")]
    Capital {
        /// Position of the letter.
        at: usize,
    },
    /// Neither a letter, nor a digit, nor a hyphen. Letters are those of ASCII only.
    #[error("a name has only letters a-z, digits and hyphens, there is {character:?} at byte {at}")]
    ForbiddenCharacter {
        /// Position of the character's first byte.
        at: usize,
        /// The character, printed escaped.
        character: char,
    },
    /// The first or last octet is a hyphen.
    #[error("a name begins and ends with a letter or digit, there is a hyphen at byte {at}")]
    HyphenAtEdge {
        /// Position of the hyphen.
        at: usize,
    },
    /// Two hyphens in a row, as in every `xn--` label.
    #[error("a name has no two hyphens in a row, there is a second one at byte {at}")]
    DoubleHyphen {
        /// Position of the second hyphen.
        at: usize,
    },
}

impl NameError {
    /// The rule that is broken.
    pub fn rule(&self) -> NameRule {
        match self {
            Self::TooShort { .. } => NameRule::TOO_SHORT,
            Self::TooLong { .. } => NameRule::TOO_LONG,
            Self::Capital { .. } => NameRule::CAPITAL,
            Self::ForbiddenCharacter { .. } => NameRule::FORBIDDEN_CHARACTER,
            Self::HyphenAtEdge { .. } => NameRule::HYPHEN_AT_EDGE,
            Self::DoubleHyphen { .. } => NameRule::DOUBLE_HYPHEN,
        }
    }

    /// The byte at which it is broken; none for a rule about the length.
    pub fn at(&self) -> Option<usize> {
        match *self {
            Self::TooShort { .. } | Self::TooLong { .. } => None,
            Self::Capital { at }
            | Self::ForbiddenCharacter { at, .. }
            | Self::HyphenAtEdge { at }
            | Self::DoubleHyphen { at } => Some(at),
        }
    }
}

/// The name of a rule, the same in every language: what `vectors/names.json` calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NameRule(&'static str);

impl NameRule {
    /// Fewer than three octets.
    pub const TOO_SHORT: Self = Self("too_short");
    /// More than 63 octets.
    pub const TOO_LONG: Self = Self("too_long");
    /// An ASCII capital letter.
    pub const CAPITAL: Self = Self("capital");
    /// Neither a letter, nor a digit, nor a hyphen.
    pub const FORBIDDEN_CHARACTER: Self = Self("forbidden_character");
    /// A hyphen at the beginning or the end.
    pub const HYPHEN_AT_EDGE: Self = Self("hyphen_at_edge");
    /// Two hyphens in a row.
    pub const DOUBLE_HYPHEN: Self = Self("double_hyphen");
    /// All rules.
    pub const ALL: &'static [Self] = &[
        Self::TOO_SHORT,
        Self::TOO_LONG,
        Self::CAPITAL,
        Self::FORBIDDEN_CHARACTER,
        Self::HYPHEN_AT_EDGE,
        Self::DOUBLE_HYPHEN,
    ];

    /// The rule's name in lower case with underscores.
    pub fn as_str(self) -> &'static str {
        self.0
    }
}
