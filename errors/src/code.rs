use std::borrow::Cow;
use std::fmt;

use crate::registry::Entry;
use crate::spelling::{SpellingError, check_spelling, is_spelled_well};

/// What went wrong, as a word for programs; an open value, so that a code unknown here survives.
///
/// Its constants come from the table in [`registry`](crate::registry): one line there gives the code its HTTP status,
/// its next action, who may fix it and its documentation. A product adds codes of its own with an [`Entry`] of its own.
///
/// Spelling is the seeds': most codes are `UPPER_CASE`, the oldest ones (`internal`, `missing_bearer`,
/// `upgrade_required`) are `snake_case`. [`parse`](Self::parse) takes other spellings in use as well and gives the one
/// that we write: `PortUnavailable`, as some transports say, becomes [`PORT_UNAVAILABLE`](Self::PORT_UNAVAILABLE).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(Cow<'static, str>);

impl Code {
    /// Reads a code from a peer, folding known other spellings; a known one costs no allocation.
    ///
    /// # Errors
    /// [`SpellingError`] unless the text is 1 to 64 ASCII letters, digits, `_`, `-` or `.`, the first one a letter.
    /// Prose, secrets with punctuation and markup are no codes.
    pub fn parse(text: &str) -> Result<Self, SpellingError> {
        if let Some(entry) = Entry::find(text) {
            return Ok(entry.code().clone());
        }
        check_spelling(text)?;
        Ok(Self(Cow::Owned(text.to_owned())))
    }

    /// A code of your own, for a constant in an [`Entry`] of your own.
    ///
    /// # Panics
    /// If the text breaks the rule of [`parse`](Self::parse): while compiling, when used in a constant.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        assert!(is_spelled_well(text.as_bytes()), "a code is 1 to 64 letters, digits, '_', '-' or '.'");
        Self(Cow::Borrowed(text))
    }

    /// The code that an HTTP status alone stands for, when nothing else is known.
    ///
    /// A status without a code of its own gives the general one of its class: the caller's fault below 500, the
    /// server's from there on. Anything outside 400 to 599 is no refusal, and so a failure of the server.
    #[must_use]
    pub const fn for_status(status: u16) -> Self {
        match status {
            401 => Self::AUTH_FAILED,
            402 => Self::UPGRADE_REQUIRED,
            403 => Self::FORBIDDEN,
            404 | 410 => Self::NOT_FOUND,
            405 => Self::METHOD_NOT_ALLOWED,
            408 | 425 => Self::REQUEST_TIMEOUT,
            409 | 412 | 428 => Self::CONFLICT,
            413 => Self::PAYLOAD_TOO_LARGE,
            414 => Self::URI_TOO_LONG,
            415 => Self::UNSUPPORTED_MEDIA_TYPE,
            417 => Self::EXPECTATION_FAILED,
            421 => Self::MISDIRECTED,
            426 => Self::UNSUPPORTED_VERSION,
            429 => Self::RATE_LIMITED,
            431 => Self::HEADERS_TOO_LARGE,
            400..=499 => Self::VALIDATION_FAILED,
            505 | 501 => Self::NOT_IMPLEMENTED,
            502 => Self::BAD_GATEWAY,
            503 => Self::SERVICE_UNAVAILABLE,
            504 => Self::GATEWAY_TIMEOUT,
            _ => Self::INTERNAL,
        }
    }

    /// The text as it stands in `error`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The line of the registry about this code, unless it is unknown here.
    #[must_use]
    pub fn entry(&self) -> Option<&'static Entry> {
        Entry::find(&self.0)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_spellings_of_a_held_port_meet() {
        for spelling in ["PORT_UNAVAILABLE", "PortUnavailable"] {
            let code = Code::parse(spelling).unwrap();
            assert_eq!(code, Code::PORT_UNAVAILABLE);
            assert_eq!(code.as_str(), "PORT_UNAVAILABLE");
        }
    }

    #[test]
    fn seed_spellings_are_the_ones_written() {
        assert_eq!(Code::INTERNAL.as_str(), "internal");
        assert_eq!(Code::MISSING_BEARER.as_str(), "missing_bearer");
        assert_eq!(Code::UPGRADE_REQUIRED.as_str(), "upgrade_required");
        assert_eq!(Code::parse("MISSING_BEARER").unwrap(), Code::MISSING_BEARER);
    }

    #[test]
    fn unknown_codes_survive() {
        let code = Code::parse("FLUX_CAPACITOR_EMPTY").unwrap();
        assert_eq!(code.as_str(), "FLUX_CAPACITOR_EMPTY");
        assert!(code.entry().is_none());
    }

    #[test]
    fn prose_and_markup_are_no_codes() {
        assert_eq!(Code::parse(""), Err(SpellingError::Empty {}));
        assert_eq!(Code::parse(&"A".repeat(65)), Err(SpellingError::TooLong { length: 65 }));
        assert!(Code::parse(&"A".repeat(64)).is_ok());
        assert_eq!(Code::parse("not found"), Err(SpellingError::Byte { index: 3 }));
        assert_eq!(Code::parse("<b>"), Err(SpellingError::Byte { index: 0 }));
        assert_eq!(Code::parse("9LIVES"), Err(SpellingError::Byte { index: 0 }));
        assert_eq!(Code::parse("GRÜN"), Err(SpellingError::Byte { index: 2 }));
    }
}
