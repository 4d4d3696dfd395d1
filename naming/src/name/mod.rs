//! Names of tunnels.

use alloc::{boxed::Box, string::String};

mod error;
pub use error::{NameError, NameRule};

mod suggest;

/// The name of a tunnel: 3–63 octets of lower-case letters, digits and hyphens, which begins and ends with a letter or
/// digit and has no two hyphens in a row.
///
/// So a name is always a DNS label (RFC 1035 §2.3.1) and never one of the reserved `??--` forms of RFC 5890 §2.3.1:
/// no tunnel is called `xn--…`. Nothing is folded or normalized here: text is a name, or it isn't (cases N-01 to N-09).
/// Where capitals should be taken as well, see [`TunnelName::parse_folded`]; a [`Host`](crate::Host) folds them anyway.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TunnelName(Box<str>);

impl TunnelName {
    /// Octets of the shortest name.
    pub const MIN_LEN: usize = 3;
    /// Octets of the longest name: those of the longest DNS label.
    pub const MAX_LEN: usize = 63;

    /// Checks `text` and keeps a copy.
    ///
    /// # Errors
    /// As [`TunnelNameRef::parse`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        TunnelNameRef::parse(text).map(TunnelNameRef::to_owned)
    }

    /// Like [`TunnelName::parse`], after ASCII capitals were made small: for looking a name up, not for making one
    /// (case N-02).
    ///
    /// # Errors
    /// As [`TunnelNameRef::parse`], but never [`NameError::Capital`].
    pub fn parse_folded(text: &str) -> Result<Self, NameError> {
        check_length(text)?;
        Self::parse(&text.to_ascii_lowercase())
    }

    /// The nearest valid name to a refused text, if there is one: `My--App_` gives `my-app`.
    ///
    /// Capitals become small, every run of other characters one hyphen, edges are trimmed, and what is too long is cut.
    /// The suggestion may be taken or reserved: ask again before showing it as available.
    pub fn suggest(text: &str) -> Option<Self> {
        suggest::nearest(text).map(Self)
    }

    /// The borrowed form.
    pub fn borrowed(&self) -> TunnelNameRef<'_> {
        TunnelNameRef(&self.0)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Takes a text that is known to follow the rules, because it was made to.
    pub(crate) fn assume_valid(text: String) -> Self {
        debug_assert!(is_name(text.as_bytes()));
        Self(text.into_boxed_str())
    }

    /// A text below every name, for the ends of ranges.
    pub(crate) fn lowest() -> Self {
        Self("".into())
    }
}

owned_text!(TunnelName, NameError);

/// A borrowed [`TunnelName`]; parsing one allocates nothing.
///
/// ```
/// use adit_naming::{NameError, TunnelNameRef};
///
/// assert_eq!(TunnelNameRef::parse("my-app").unwrap().as_str(), "my-app");
/// assert_eq!(TunnelNameRef::parse("my--app"), Err(NameError::DoubleHyphen { at: 3 }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TunnelNameRef<'a>(&'a str);

impl<'a> TunnelNameRef<'a> {
    /// Checks `text` and borrows it.
    ///
    /// # Errors
    /// [`NameError`], which says which rule is broken and at which byte. The length is looked at first; of the other
    /// rules the one that is broken furthest to the left is named.
    pub fn parse(text: &'a str) -> Result<Self, NameError> {
        if is_name(text.as_bytes()) { Ok(Self(text)) } else { Err(explain(text)) }
    }

    /// Takes the first label of a host, on the way of every request. In a plain one nothing but the length is left to check.
    #[inline]
    pub(crate) fn of_host(label: &'a str, is_plain: bool) -> Option<Self> {
        let good = if is_plain { label.len() >= TunnelName::MIN_LEN } else { is_name(label.as_bytes()) };
        debug_assert_eq!(good, is_name(label.as_bytes()));
        good.then_some(Self(label))
    }

    /// Takes a text that is known to follow the rules, because another type checked them.
    pub(crate) fn assume_valid(text: &'a str) -> Self {
        debug_assert!(is_name(text.as_bytes()));
        Self(text)
    }

    /// A copy that owns its text.
    pub fn to_owned(self) -> TunnelName {
        TunnelName(self.0.into())
    }

    /// The name as text.
    #[inline]
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

borrowed_text!(TunnelNameRef, TunnelName, NameError);

#[inline]
fn is_name(text: &[u8]) -> bool {
    let [first, .., last] = text else { return false };
    if !(TunnelName::MIN_LEN..=TunnelName::MAX_LEN).contains(&text.len()) || *first == b'-' || *last == b'-' {
        return false;
    }
    // Every byte is looked at, without a branch on any: names are short and nearly always good.
    let mut good = true;
    let mut before_hyphen = false;
    for &byte in text {
        let hyphen = byte == b'-';
        good &= is_letter_or_digit(byte) | hyphen;
        good &= !(hyphen & before_hyphen);
        before_hyphen = hyphen;
    }
    good
}

/// Names the rule that `text` breaks.
fn explain(text: &str) -> NameError {
    if let Err(error) = check_length(text) {
        return error;
    }
    let mut before = None;
    for (at, character) in text.char_indices() {
        match character {
            '-' if before.is_none() => return NameError::HyphenAtEdge { at },
            '-' if before == Some('-') => return NameError::DoubleHyphen { at },
            'a'..='z' | '0'..='9' | '-' => before = Some(character),
            'A'..='Z' => return NameError::Capital { at },
            _ => return NameError::ForbiddenCharacter { at, character },
        }
    }
    NameError::HyphenAtEdge { at: text.len() - 1 }
}

fn check_length(text: &str) -> Result<(), NameError> {
    match text.len() {
        length if length < TunnelName::MIN_LEN => Err(NameError::TooShort { length }),
        length if length > TunnelName::MAX_LEN => Err(NameError::TooLong { length }),
        _ => Ok(()),
    }
}

fn is_letter_or_digit(byte: u8) -> bool {
    byte.wrapping_sub(b'a') < 26 || byte.wrapping_sub(b'0') < 10
}

#[cfg(test)]
mod tests;
