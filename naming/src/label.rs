//! One DNS label in its canonical, lower-case form.

use alloc::boxed::Box;

use thiserror::Error;

/// One DNS label in lower case: 1–63 octets, letters, digits and inner hyphens (RFC 1035 §2.3.1, RFC 1123 §2.1).
///
/// Wider than a [`TunnelName`](crate::TunnelName): one letter is enough and hyphens may follow each other, so `xn--`
/// labels are labels, too.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label(Box<str>);

impl Label {
    /// Checks `text` and keeps a copy.
    ///
    /// # Errors
    /// As [`LabelRef::parse`].
    pub fn parse(text: &str) -> Result<Self, LabelError> {
        LabelRef::parse(text).map(LabelRef::to_owned)
    }

    /// The borrowed form.
    pub fn borrowed(&self) -> LabelRef<'_> {
        LabelRef(&self.0)
    }

    /// The label as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

owned_text!(Label, LabelError);

/// A borrowed [`Label`]; parsing one allocates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LabelRef<'a>(&'a str);

impl<'a> LabelRef<'a> {
    /// Checks `text` and borrows it.
    ///
    /// # Errors
    /// [`LabelError`], which says which rule is broken and at which byte.
    pub fn parse(text: &'a str) -> Result<Self, LabelError> {
        check(text.as_bytes())?;
        Ok(Self(text))
    }

    /// A copy that owns its text.
    pub fn to_owned(self) -> Label {
        Label(self.0.into())
    }

    /// The label as text.
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

borrowed_text!(LabelRef, Label, LabelError);

/// Why a text is no [`Label`]. Positions count bytes from zero.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LabelError {
    /// There is no octet between two dots, or no text at all.
    #[error("a label is empty")]
    Empty {},
    /// More than 63 octets (RFC 1035 §2.3.4).
    #[error("a label has {length} octets, 63 are the most")]
    TooLong {
        /// Octets found.
        length: usize,
    },
    /// Something else than `a-z`, `0-9` and `-`.
    #[error("byte {at} of the label is neither a lower-case letter, nor a digit, nor a hyphen")]
    ForbiddenByte {
        /// Position of the byte.
        at: usize,
    },
    /// The first or the last octet is a hyphen.
    #[error("the label has a hyphen at its edge, at byte {at}")]
    HyphenAtEdge {
        /// Position of the hyphen.
        at: usize,
    },
}

/// Octets of the longest label (RFC 1035 §2.3.4).
pub(crate) const MAX_LABEL: usize = 63;

fn check(label: &[u8]) -> Result<(), LabelError> {
    let [first, .., last] = label else {
        return match label {
            [] => Err(LabelError::Empty {}),
            [b'-'] => Err(LabelError::HyphenAtEdge { at: 0 }),
            [only] if is_label_byte(*only) => Ok(()),
            _ => Err(LabelError::ForbiddenByte { at: 0 }),
        };
    };
    if label.len() > MAX_LABEL {
        return Err(LabelError::TooLong { length: label.len() });
    }
    if let Some(at) = label.iter().position(|&byte| !is_label_byte(byte)) {
        return Err(LabelError::ForbiddenByte { at });
    }
    if *first == b'-' {
        return Err(LabelError::HyphenAtEdge { at: 0 });
    }
    if *last == b'-' {
        return Err(LabelError::HyphenAtEdge { at: label.len() - 1 });
    }
    Ok(())
}

fn is_label_byte(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_digits_and_inner_hyphens_make_a_label() {
        for text in ["a", "0", "a-b", "xn--bcher-kva", "a--b", &"a".repeat(63)] {
            assert_eq!(Label::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn each_rule_has_its_error_and_position() {
        assert_eq!(Label::parse(""), Err(LabelError::Empty {}));
        assert_eq!(Label::parse(&"a".repeat(64)), Err(LabelError::TooLong { length: 64 }));
        assert_eq!(Label::parse("aB"), Err(LabelError::ForbiddenByte { at: 1 }));
        assert_eq!(Label::parse("."), Err(LabelError::ForbiddenByte { at: 0 }));
        assert_eq!(Label::parse("-"), Err(LabelError::HyphenAtEdge { at: 0 }));
        assert_eq!(Label::parse("-a"), Err(LabelError::HyphenAtEdge { at: 0 }));
        assert_eq!(Label::parse("ab-"), Err(LabelError::HyphenAtEdge { at: 2 }));
    }
}
