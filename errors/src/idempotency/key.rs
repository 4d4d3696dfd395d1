use std::fmt;

use crate::code::Code;
use crate::refusal::Refusal;

/// A caller's `Idempotency-Key`: 1 to 255 ASCII characters.
///
/// `Debug` does not show it: whoever has the key and the credential could fetch the stored answer.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdempotencyKey(Box<str>);

impl IdempotencyKey {
    /// Reads one field value. The draft's quoted form and the seeds' bare form of a key are the same key:
    ///
    /// ```abnf
    /// value  = OWS ( bare / quoted ) OWS
    /// bare   = 1*255( %x21 / %x23-2B / %x2D-3A / %x3C-5B / %x5D-7E )  ; no space, quote, comma, semicolon, backslash
    /// quoted = DQUOTE 1*255( %x20-21 / %x23-5B / %x5D-7E / "\" DQUOTE / "\\" ) DQUOTE
    /// ```
    ///
    /// A bare key has no comma, because that is how two fields look after a proxy has joined them.
    ///
    /// # Errors
    /// [`KeyError`]; answer with 400, which its conversion into a [`Refusal`] does.
    pub fn parse(value: &[u8]) -> Result<Self, KeyError> {
        let value = value.trim_ascii();
        match value {
            [] => Err(KeyError::Empty {}),
            [b'"', rest @ ..] => Self::parse_quoted(rest),
            bare => Self::parse_bare(bare),
        }
    }

    /// Reads all field values of a request: none is no key, two are an error even if they are equal.
    ///
    /// # Errors
    /// [`KeyError`], as [`parse`](Self::parse).
    pub fn from_fields<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<Self>, KeyError> {
        let mut values = values.into_iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => Self::parse(value).map(Some),
            (Some(_), Some(_)) => Err(KeyError::Repeated {}),
        }
    }

    /// The key, without quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parse_bare(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.len() > MAX_KEY_BYTES {
            return Err(KeyError::TooLong {});
        }
        let allowed = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b',' | b';');
        match bytes.iter().position(|byte| !allowed(*byte)) {
            Some(index) => Err(KeyError::Byte { index }),
            None => Ok(Self(String::from_utf8_lossy(bytes).into())),
        }
    }

    /// `rest` begins behind the opening quote.
    fn parse_quoted(rest: &[u8]) -> Result<Self, KeyError> {
        let mut key = String::new();
        let mut bytes = rest.iter().copied().enumerate();
        while let Some((index, byte)) = bytes.next() {
            let character = match byte {
                b'"' if index + 1 == rest.len() && key.is_empty() => return Err(KeyError::Empty {}),
                b'"' if index + 1 == rest.len() => return Ok(Self(key.into())),
                b'\\' => match bytes.next() {
                    Some((_, escaped @ (b'"' | b'\\'))) => escaped,
                    _ => return Err(KeyError::Byte { index: index + 1 }),
                },
                b' '..=b'~' if byte != b'"' => byte,
                _ => return Err(KeyError::Byte { index: index + 1 }),
            };
            if key.len() == MAX_KEY_BYTES {
                return Err(KeyError::TooLong {});
            }
            key.push(char::from(character));
        }
        Err(KeyError::Unterminated {})
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdempotencyKey(..)")
    }
}

/// Why a field value is no key. It says where, never what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// There is nothing in it.
    #[error("the Idempotency-Key is empty")]
    Empty {},
    /// It has more than 255 characters.
    #[error("the Idempotency-Key has more than 255 characters")]
    TooLong {},
    /// A byte is not allowed where it stands.
    #[error("byte {index} of the Idempotency-Key is not allowed")]
    Byte {
        /// The first such byte of the trimmed value, counted from 0.
        index: usize,
    },
    /// The closing quote is missing.
    #[error("the Idempotency-Key has no closing quote")]
    Unterminated {},
    /// The request has more than one such field.
    #[error("the request has more than one Idempotency-Key")]
    Repeated {},
}

impl From<KeyError> for Refusal {
    fn from(error: KeyError) -> Self {
        Self::new(Code::IDEMPOTENCY_KEY_INVALID, error.to_string())
    }
}

/// Who sent a request, as authorisation found out: an opaque id of 1 to 256 bytes, such as an API key's id.
///
/// It must name whoever may see the answer, and no more than that: an organisation's id lets all its members replay
/// each other's answers, secrets in them included. It is an id, never the credential itself. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Principal(Box<str>);

impl Principal {
    /// Names a principal. Call it after the credential was checked, at every request: it is what stands between a
    /// revoked credential and the answers stored for it.
    ///
    /// # Errors
    /// [`PrincipalError`] unless the id has 1 to 256 bytes.
    pub fn new(id: impl Into<Box<str>>) -> Result<Self, PrincipalError> {
        let id = id.into();
        if !(1..=256).contains(&id.len()) {
            return Err(PrincipalError::Length { length: id.len() });
        }
        Ok(Self(id))
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Principal(..)")
    }
}

/// Why a text is no principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrincipalError {
    /// It is empty or too long.
    #[error("a principal's id has 1 to 256 bytes, this one has {length}")]
    Length {
        /// Its length in bytes.
        length: usize,
    },
}

/// Where an answer is kept: under its principal and key, so that equal keys of two principals never meet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    principal: Principal,
    key: IdempotencyKey,
}

impl Slot {
    /// The slot of this key of this principal.
    #[must_use]
    pub const fn new(principal: Principal, key: IdempotencyKey) -> Self {
        Self { principal, key }
    }

    /// Whose slot it is.
    #[must_use]
    pub const fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> &IdempotencyKey {
        &self.key
    }
}

/// Uuids, hashes and composed keys fit; a store must not grow by what a caller calls a key.
const MAX_KEY_BYTES: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bare_and_quoted_are_the_same_key() {
        let bare = IdempotencyKey::parse(b"8e03978e-40d5-43e8-bc93-6894a57f9324").unwrap();
        let quoted = IdempotencyKey::parse(b" \"8e03978e-40d5-43e8-bc93-6894a57f9324\"\t").unwrap();
        assert_eq!(bare, quoted);
        assert_eq!(IdempotencyKey::parse(br#""a\"b\\c, d;e""#).unwrap().as_str(), r#"a"b\c, d;e"#);
    }

    #[test]
    fn b17_bad_keys_are_400() {
        let long = "k".repeat(256);
        let long_quoted = format!("\"{long}\"");
        let cases: [(&[u8], KeyError); 17] = [
            (b"", KeyError::Empty {}),
            (b" \t ", KeyError::Empty {}),
            (b"\"\"", KeyError::Empty {}),
            (long.as_bytes(), KeyError::TooLong {}),
            (long_quoted.as_bytes(), KeyError::TooLong {}),
            (b"a\0b", KeyError::Byte { index: 1 }),
            (b"a\r\nb", KeyError::Byte { index: 1 }),
            (b"a\x7f", KeyError::Byte { index: 1 }),
            (b"\"a\x01\"", KeyError::Byte { index: 2 }),
            (b"a b", KeyError::Byte { index: 1 }),
            (b"a, b", KeyError::Byte { index: 1 }),
            (b"a\"", KeyError::Byte { index: 1 }),
            ("ä".as_bytes(), KeyError::Byte { index: 0 }),
            (b"\"a", KeyError::Unterminated {}),
            (b"\"", KeyError::Unterminated {}),
            (b"\"a\\\"", KeyError::Unterminated {}),
            (b"\"a\"b\"", KeyError::Byte { index: 2 }),
        ];
        for (value, expected) in cases {
            assert_eq!(IdempotencyKey::parse(value), Err(expected), "{}", value.escape_ascii());
            let refusal = Refusal::from(expected);
            assert_eq!((refusal.status(), refusal.code()), (400, &Code::IDEMPOTENCY_KEY_INVALID));
        }
        assert!(IdempotencyKey::parse("k".repeat(255).as_bytes()).is_ok());
    }

    #[test]
    fn b17_two_keys_are_400_even_if_equal() {
        let fields: [&[u8]; 2] = [b"a", b"a"];
        assert_eq!(IdempotencyKey::from_fields(fields), Err(KeyError::Repeated {}));
        assert_eq!(IdempotencyKey::from_fields(std::iter::empty()), Ok(None));
        assert!(IdempotencyKey::from_fields([b"a".as_slice()]).unwrap().is_some());
    }

    #[test]
    fn x06_debug_shows_neither_key_nor_principal() {
        let slot =
            Slot::new(Principal::new("canary-p").unwrap(), IdempotencyKey::parse(b"canary-k").unwrap());
        assert!(!format!("{slot:?} {slot:#?}").contains("canary"));
        for bad in [b"canary,".as_slice(), b"\"canary", b"canary\0"] {
            let error = IdempotencyKey::parse(bad).unwrap_err();
            assert!(!format!("{error} {error:?} {:?}", Refusal::from(error)).contains("canary"));
        }
    }

    #[test]
    fn principals_have_a_length() {
        assert!(Principal::new("").is_err());
        assert!(Principal::new("p".repeat(257)).is_err());
        assert!(Principal::new("p".repeat(256)).is_ok());
    }

    proptest! {
        #[test]
        fn a_key_quoted_again_is_the_same_key(value in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(key) = IdempotencyKey::parse(&value) {
                let quoted = format!("\"{}\"", key.as_str().replace('\\', "\\\\").replace('"', "\\\""));
                prop_assert_eq!(IdempotencyKey::parse(quoted.as_bytes()), Ok(key));
            }
        }
    }
}
