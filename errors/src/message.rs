use std::borrow::Cow;
use std::fmt::{self, Write};

/// The longest message, in bytes of UTF-8; anything longer is cut before a character that does not fit.
pub const MAX_MESSAGE_BYTES: usize = 1024;

/// Makes a message fit for a body, a terminal and a log line.
///
/// Tabs and line ends become spaces. Other control characters, and characters that steer the direction of text or
/// show nothing, become U+FFFD: they serve forged log lines, terminal escapes and messages that read as another one.
/// No more than the kept part is looked at, so a megabyte costs what a kilobyte does.
pub(crate) fn clean(text: Cow<'static, str>) -> Cow<'static, str> {
    if is_clean(&text) {
        return text;
    }
    Cow::Owned(cleaned(text.chars()))
}

/// As [`clean`], of a text that is borrowed for a moment only: no more than the kept part is copied.
pub(crate) fn clean_text(text: &str) -> Cow<'static, str> {
    Cow::Owned(if is_clean(text) { text.to_owned() } else { cleaned(text.chars()) })
}

/// As [`clean`], of bytes that ought to be UTF-8: each broken piece becomes U+FFFD.
pub(crate) fn clean_bytes(bytes: &[u8]) -> Cow<'static, str> {
    // Four bytes for the longest character: enough to fill the message, however the bytes decode.
    let looked_at = bytes.get(..MAX_MESSAGE_BYTES + 4).unwrap_or(bytes);
    Cow::Owned(cleaned(String::from_utf8_lossy(looked_at).chars()))
}

/// Text from a stranger, to be shown inside a message: in single quotes, escaped, at most 64 characters of it.
///
/// Letters beyond ASCII are shown as `\u{…}`, so that a look-alike is seen for what it is; bytes that are no UTF-8 as
/// `\x…`.
///
/// ```
/// use adit_errors::Echo;
///
/// assert_eq!(Echo::new("my_app").to_string(), "'my_app'");
/// assert_eq!(Echo::new("p\u{430}ypal\n").to_string(), r"'p\u{430}ypal\n'");
/// assert_eq!(Echo::new(b"\xffx").to_string(), r"'\xffx'");
/// ```
#[derive(Clone, Copy)]
pub struct Echo<'a>(&'a [u8]);

impl<'a> Echo<'a> {
    /// Wraps the text for showing; it is not copied.
    #[must_use]
    pub fn new<T: AsRef<[u8]> + ?Sized>(text: &'a T) -> Self {
        Self(text.as_ref())
    }
}

impl fmt::Display for Echo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut room = MAX_ECHO_CHARACTERS;
        // A character has at most four bytes, and one more shows that something was cut.
        let looked_at = self.0.get(..4 * (MAX_ECHO_CHARACTERS + 1)).unwrap_or(self.0);
        f.write_char('\'')?;
        for chunk in looked_at.utf8_chunks() {
            for character in chunk.valid().chars() {
                if room == 0 {
                    return f.write_str("…'");
                }
                room -= 1;
                write_escaped(f, character)?;
            }
            for byte in chunk.invalid() {
                if room == 0 {
                    return f.write_str("…'");
                }
                room -= 1;
                write!(f, "\\x{byte:02x}")?;
            }
        }
        f.write_char('\'')
    }
}

impl fmt::Debug for Echo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn write_escaped(f: &mut fmt::Formatter<'_>, character: char) -> fmt::Result {
    match character {
        ' '..='~' if !matches!(character, '\'' | '\\') => f.write_char(character),
        '\'' | '\\' | '\n' | '\r' | '\t' => write!(f, "{}", character.escape_default()),
        _ => write!(f, "{}", character.escape_unicode()),
    }
}

fn is_clean(text: &str) -> bool {
    if text.len() > MAX_MESSAGE_BYTES {
        return false;
    }
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        || text.chars().all(|character| shown(character) == character)
}

fn cleaned(characters: impl Iterator<Item = char>) -> String {
    let mut kept = String::new();
    for character in characters.map(shown) {
        if kept.len() + character.len_utf8() > MAX_MESSAGE_BYTES {
            break;
        }
        kept.push(character);
    }
    kept
}

fn shown(character: char) -> char {
    match character {
        '\t' | '\n' | '\r' | '\u{2028}' | '\u{2029}' => ' ',
        _ if character.is_control() || misleads(character) => char::REPLACEMENT_CHARACTER,
        _ => character,
    }
}

/// Marks of direction, invisible joints and tags (Unicode's "Trojan source" set and its kin).
const fn misleads(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    )
}

/// Longer than any name that could be meant, shorter than what fills a terminal.
const MAX_ECHO_CHARACTERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_plain_static_message_is_not_copied() {
        assert!(matches!(clean(Cow::Borrowed("the name is taken")), Cow::Borrowed(_)));
        assert!(matches!(clean(Cow::Borrowed("der Name ist für Müller")), Cow::Borrowed(_)));
    }

    #[test]
    fn x03_messages_are_cut_at_a_kibibyte_before_a_character() {
        let cut = clean(Cow::Owned("ü".repeat(1 << 20)));
        assert_eq!(cut.len(), MAX_MESSAGE_BYTES);
        let cut = clean(Cow::Owned(format!("a{}", "ü".repeat(1 << 20))));
        assert_eq!(cut.len(), MAX_MESSAGE_BYTES - 1);
        assert_eq!(clean(Cow::Owned("x".repeat(1024))).len(), 1024);
        assert_eq!(clean_bytes(&[0xff; 1 << 20]).len(), MAX_MESSAGE_BYTES - 1);
    }

    #[test]
    fn x03_control_and_direction_characters_do_not_pass() {
        let text = "a\u{1b}[31m\nb\u{202e}c\u{0}\u{7f}\u{85}\u{feff}d\u{2028}e";
        let expected = "a\u{fffd}[31m b\u{fffd}c\u{fffd}\u{fffd}\u{fffd}\u{fffd}d e";
        assert_eq!(clean(Cow::Borrowed(text)), expected);
        assert_eq!(clean_bytes(b"a\xff\"b"), "a\u{fffd}\"b");
    }

    #[test]
    fn echoes_are_short_and_ascii() {
        assert_eq!(Echo::new(r"it's \").to_string(), r"'it\'s \\'");
        let long = "ß".repeat(1 << 20);
        let shown = Echo::new(&long).to_string();
        assert!(shown.ends_with("…'") && shown.len() < 64 * 8);
        assert_eq!(Echo::new(&"x".repeat(64)).to_string().len(), 66);
    }

    proptest! {
        #[test]
        fn cleaning_is_idempotent_and_bounded(text in any::<String>()) {
            let once = clean(Cow::Owned(text));
            prop_assert!(once.len() <= MAX_MESSAGE_BYTES);
            prop_assert!(is_clean(&once));
            prop_assert_eq!(clean(once.clone()), once);
        }

        #[test]
        fn echoes_of_any_bytes_are_printable(bytes in any::<Vec<u8>>()) {
            let shown = Echo::new(&bytes).to_string();
            prop_assert!(shown.chars().all(|character| matches!(character, ' '..='~' | '…')));
        }
    }
}
