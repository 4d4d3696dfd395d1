//! Repairing a refused name.

use alloc::{boxed::Box, string::String};

use super::{TunnelName, is_letter_or_digit, is_name};

/// The nearest name to `text`. Reads at most [`MAX_READ`] bytes, whatever comes in.
pub(super) fn nearest(text: &str) -> Option<Box<str>> {
    let mut name = String::with_capacity(TunnelName::MAX_LEN);
    let mut hyphen_due = false;
    for byte in text.bytes().take(MAX_READ).map(|byte| byte.to_ascii_lowercase()) {
        if !is_letter_or_digit(byte) {
            hyphen_due = true;
            continue;
        }
        let wants_hyphen = hyphen_due && !name.is_empty();
        if name.len() + usize::from(wants_hyphen) >= TunnelName::MAX_LEN {
            break;
        }
        if wants_hyphen {
            name.push('-');
        }
        hyphen_due = false;
        name.push(char::from(byte));
    }
    is_name(name.as_bytes()).then(|| name.into_boxed_str())
}

/// Bytes of a refused text that a suggestion is made from: more than any honest name, little against a flood.
const MAX_READ: usize = 256;
