//! How codes and actions are spelled: a short word for programs, never prose, markup or a secret.

/// Why a text is no code and no action. It says where, never what: the text may be anything, a secret included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpellingError {
    /// The text is empty.
    #[error("a code or an action may not be empty")]
    Empty {},
    /// The text is longer than 64 bytes.
    #[error("a code or an action has at most 64 bytes, this one has {length}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// A byte is no ASCII letter, digit, `_`, `-` or `.`, or the first one is no letter.
    #[error("byte {index} of the code or action is not allowed there")]
    Byte {
        /// The first such byte, counted from 0.
        index: usize,
    },
}

pub(crate) fn check_spelling(text: &str) -> Result<(), SpellingError> {
    if text.is_empty() {
        return Err(SpellingError::Empty {});
    }
    if text.len() > MAX_SPELLING_BYTES {
        return Err(SpellingError::TooLong { length: text.len() });
    }
    match first_bad_byte(text.as_bytes()) {
        Some(index) => Err(SpellingError::Byte { index }),
        None => Ok(()),
    }
}

pub(crate) const fn is_spelled_well(text: &[u8]) -> bool {
    !text.is_empty() && text.len() <= MAX_SPELLING_BYTES && first_bad_byte(text).is_none()
}

const fn first_bad_byte(text: &[u8]) -> Option<usize> {
    let mut index = 0;
    while index < text.len() {
        let byte = text[index];
        let inner = byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'.');
        if !(byte.is_ascii_alphabetic() || index > 0 && inner) {
            return Some(index);
        }
        index += 1;
    }
    None
}

/// The longest code and action in use have under 32 bytes; twice that bounds what a peer can make us keep.
const MAX_SPELLING_BYTES: usize = 64;
