//! Text for people: names and descriptions that no machine compares.

use alloc::boxed::Box;

use thiserror::Error;

/// Defines a text for people with bounds on its characters.
macro_rules! display_text {
    ($(#[$doc:meta])* $type:ident, $min:literal..=$max:literal, $lines:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type(Box<str>);

        impl $type {
            /// Characters of the shortest one.
            pub const MIN_CHARS: usize = $min;
            /// Characters of the longest one.
            pub const MAX_CHARS: usize = $max;

            /// Checks `text` and keeps a copy. Nothing is trimmed or normalized.
            ///
            /// # Errors
            /// [`DisplayTextError`], which says what is wrong and where.
            pub fn parse(text: &str) -> Result<Self, DisplayTextError> {
                check(text, $min, $max, $lines)?;
                Ok(Self(text.into()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        owned_text!($type, DisplayTextError);
    };
}

display_text! {
    /// What a tunnel or an agent is called on a page: 1–100 characters (Unicode scalar values), in one line.
    ///
    /// Emoji and every script are fine. Control characters are not, nor those that reorder or hide text, because the
    /// name stands in lists and logs beside the names of others. It identifies nothing and need not be unique.
    DisplayName, 1..=100, Lines::One
}

display_text! {
    /// What a share is called: the same rules as for a [`DisplayName`].
    ShareName, 1..=100, Lines::One
}

display_text! {
    /// A description of a tunnel, share or agent: at most 500 characters, line feeds and tabs allowed, perhaps empty.
    Description, 0..=500, Lines::Many
}

/// Why a text for people is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DisplayTextError {
    /// Too few characters, or none that can be seen.
    #[error("the text is empty")]
    Empty {},
    /// Too many characters.
    #[error("the text has more than {max} characters")]
    TooLong {
        /// The most there may be.
        max: usize,
    },
    /// A control character, or one that reorders or hides text.
    #[error("the text has {character:?} at byte {at}, which can't be shown")]
    ForbiddenCharacter {
        /// Position of the character's first byte.
        at: usize,
        /// The character, printed escaped.
        character: char,
    },
}

impl DisplayTextError {
    /// All rules, as [`DisplayTextError::rule`] names them.
    pub const RULES: &'static [&'static str] = &["empty", "too_long", "forbidden_character"];

    /// The name of the rule that is broken, the same in every language: what `vectors/texts.json` calls it.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::Empty {} => "empty",
            Self::TooLong { .. } => "too_long",
            Self::ForbiddenCharacter { .. } => "forbidden_character",
        }
    }

    /// The byte at which it is broken; none for a rule about the length.
    pub fn at(&self) -> Option<usize> {
        match *self {
            Self::ForbiddenCharacter { at, .. } => Some(at),
            Self::Empty {} | Self::TooLong { .. } => None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lines {
    One,
    Many,
}

fn check(text: &str, min: usize, max: usize, lines: Lines) -> Result<(), DisplayTextError> {
    // A character has at most four bytes, so megabytes are refused without being read.
    if text.len() > max * 4 {
        return Err(DisplayTextError::TooLong { max });
    }
    if let Some((at, character)) = text.char_indices().find(|&(_, character)| is_forbidden(character, lines))
    {
        return Err(DisplayTextError::ForbiddenCharacter { at, character });
    }
    if text.chars().count() > max {
        return Err(DisplayTextError::TooLong { max });
    }
    if min > 0 && text.chars().all(is_blank) {
        return Err(DisplayTextError::Empty {});
    }
    Ok(())
}

fn is_forbidden(character: char, lines: Lines) -> bool {
    match character {
        '\n' | '\t' => lines == Lines::One,
        // Line and paragraph separator, which some consumers take for the end of a line.
        '\u{2028}' | '\u{2029}' => true,
        // Marks, embeddings, overrides and isolates that turn the direction of what follows (UAX #9).
        '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => true,
        // Byte order mark and interlinear annotation.
        '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' => true,
        _ => character.is_control(),
    }
}

/// Nothing to see: white space, and what has no width. A joiner inside an emoji is fine, a name of joiners isn't.
fn is_blank(character: char) -> bool {
    character.is_whitespace()
        || matches!(character, '\u{00AD}' | '\u{200B}'..='\u{200D}' | '\u{2060}'..='\u{2064}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n15_display_names_have_1_to_100_characters() {
        assert!(DisplayName::parse("x").is_ok());
        assert!(DisplayName::parse(&"\u{1F980}".repeat(100)).is_ok());
        assert_eq!(DisplayName::parse(&"\u{1F980}".repeat(101)), Err(DisplayTextError::TooLong { max: 100 }));
        assert_eq!(DisplayName::parse(&"x".repeat(101)), Err(DisplayTextError::TooLong { max: 100 }));
        assert_eq!(ShareName::parse(&"x".repeat(101)), Err(DisplayTextError::TooLong { max: 100 }));
        assert_eq!(DisplayName::parse(""), Err(DisplayTextError::Empty {}));
        for text in ["Café ☕", "👩‍👩‍👧 family", "日本語", "Prod DB (read-only)", " padded "]
        {
            assert_eq!(DisplayName::parse(text).unwrap(), text);
            assert_eq!(ShareName::parse(text).unwrap(), text);
        }
    }

    #[test]
    fn n15_control_and_reordering_characters_are_refused() {
        for character in
            ['\0', '\n', '\t', '\r', '\u{7F}', '\u{85}', '\u{1B}', '\u{202E}', '\u{2028}', '\u{FEFF}']
        {
            let text = alloc::format!("ab{character}c");
            let error = DisplayTextError::ForbiddenCharacter { at: 2, character };
            assert_eq!(DisplayName::parse(&text), Err(error.clone()));
            let message = alloc::format!("{error}");
            assert!(!message.contains(character), "{message:?}");
        }
        for text in [" ", "\u{A0}", "\u{200B}", "\u{3000}\u{200D}"] {
            assert_eq!(DisplayName::parse(text), Err(DisplayTextError::Empty {}), "{text:?}");
        }
    }

    #[test]
    fn descriptions_may_have_lines_and_be_empty() {
        assert!(Description::parse("").is_ok());
        assert!(Description::parse("one\n\ttwo").is_ok());
        assert!(Description::parse("one\r\ntwo").is_err());
        assert!(Description::parse(&"é".repeat(500)).is_ok());
        assert_eq!(Description::parse(&"é".repeat(501)), Err(DisplayTextError::TooLong { max: 500 }));
        assert_eq!(Description::parse(&"x".repeat(1 << 20)), Err(DisplayTextError::TooLong { max: 500 }));
    }
}
