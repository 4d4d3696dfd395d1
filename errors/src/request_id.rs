use std::fmt;

/// The name of one request, for finding it in logs: 1 to 128 ASCII letters, digits or `-._~:+/=@`.
///
/// Nothing else gets in, so an id can stand in a header field, in JSON and in a log line without escaping.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(Box<str>);

impl RequestId {
    /// Takes an id that someone else made.
    ///
    /// # Errors
    /// [`RequestIdError`] if it is empty, too long, or holds any other byte.
    pub fn parse(text: &str) -> Result<Self, RequestIdError> {
        Self::check(text.as_bytes())?;
        Ok(Self(text.into()))
    }

    /// A new id from 128 random bits, in the form of a random UUID (RFC 9562 §5.4).
    #[must_use]
    pub fn from_random(random: u128) -> Self {
        const VERSION: u128 = 0xf << 76;
        const VARIANT: u128 = 0b11 << 62;
        let bits = random & !VERSION & !VARIANT | 0x4 << 76 | 0b10 << 62;
        let hex = format!("{bits:032x}");
        let [a, b, c, d, e] = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
        Self(format!("{a}-{b}-{c}-{d}-{e}").into())
    }

    /// The id of a request: the caller's own `X-Request-Id` if it is a good one, else a new one from `random`.
    ///
    /// A bad id is replaced, never repaired or echoed: it may hold CR LF meant for our header, or for a log.
    ///
    /// ```
    /// use adit_errors::RequestId;
    ///
    /// let id = RequestId::echo_or_random(Some(b"build-1234"), 7);
    /// assert_eq!(id.as_str(), "build-1234");
    /// let id = RequestId::echo_or_random(Some(b"build\r\nSet-Cookie: a=b"), 7);
    /// assert_eq!(id.as_str(), "00000000-0000-4000-8000-000000000007");
    /// ```
    #[must_use]
    pub fn echo_or_random(client: Option<&[u8]>, random: u128) -> Self {
        let text = client.and_then(|bytes| std::str::from_utf8(bytes).ok());
        text.and_then(|text| Self::parse(text).ok()).unwrap_or_else(|| Self::from_random(random))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn check(bytes: &[u8]) -> Result<(), RequestIdError> {
        if bytes.is_empty() {
            return Err(RequestIdError::Empty {});
        }
        if bytes.len() > MAX_REQUEST_ID_BYTES {
            return Err(RequestIdError::TooLong { length: bytes.len() });
        }
        match bytes.iter().position(|byte| !ALLOWED[usize::from(*byte)]) {
            Some(index) => Err(RequestIdError::Byte { index }),
            None => Ok(()),
        }
    }
}

impl std::str::FromStr for RequestId {
    type Err = RequestIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for RequestId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Why a text is no request id. It says where, never what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestIdError {
    /// The text is empty.
    #[error("a request id may not be empty")]
    Empty {},
    /// The text is longer than 128 bytes.
    #[error("a request id has at most 128 bytes, this one has {length}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// A byte is no ASCII letter or digit and none of `-._~:+/=@`.
    #[error("byte {index} of the request id is not allowed")]
    Byte {
        /// The first such byte, counted from 0.
        index: usize,
    },
}

/// Which bytes an id may hold; a table, because ids are checked with every request.
const ALLOWED: [bool; 256] = {
    let mut allowed = [false; 256];
    // The same number twice, for there is no conversion in constants but `as`.
    let (mut index, mut byte) = (0_usize, 0_u8);
    while index < 128 {
        allowed[index] = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':' | b'+' | b'/' | b'=' | b'@');
        (index, byte) = (index + 1, byte + 1);
    }
    allowed
};

/// Bounds what a caller can make every answer, log line and stored reply carry.
const MAX_REQUEST_ID_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x07_a_good_client_id_is_echoed_and_a_bad_one_replaced() {
        let ours = RequestId::from_random(99);
        for good in ["a", "9a3f-11", "req:1/2+3=4@host_~.x", &"z".repeat(128)] {
            assert_eq!(RequestId::echo_or_random(Some(good.as_bytes()), 99).as_str(), good);
        }
        let long = "z".repeat(129);
        for bad in
            ["", &long, "a b", "a\r\nSet-Cookie: x=y", "a\n", "grün", "\u{202e}abc", "a\"b", "<i>", "a\0"]
        {
            assert_eq!(RequestId::echo_or_random(Some(bad.as_bytes()), 99), ours, "{bad:?}");
        }
        assert_eq!(RequestId::echo_or_random(Some(b"\xff\xfe"), 99), ours);
        assert_eq!(RequestId::echo_or_random(None, 99), ours);
    }

    #[test]
    fn random_ids_are_version_4_uuids_and_good_ids() {
        for random in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef] {
            let id = RequestId::from_random(random);
            assert_eq!(id.as_str().len(), 36);
            assert_eq!(&id.as_str()[14..15], "4");
            assert!("89ab".contains(&id.as_str()[19..20]));
            assert_eq!(RequestId::parse(id.as_str()), Ok(id));
        }
    }

    #[test]
    fn errors_say_where() {
        assert_eq!(RequestId::parse("ab c"), Err(RequestIdError::Byte { index: 2 }));
        assert_eq!(RequestId::parse(""), Err(RequestIdError::Empty {}));
        assert_eq!(RequestId::parse(&"a".repeat(200)), Err(RequestIdError::TooLong { length: 200 }));
    }
}
