use std::fmt;

use sha2::{Digest, Sha256};

/// What a request asked for, in 32 bytes: SHA-256 over
///
/// ```text
/// "adit-idempotency-1"  len(method) method  len(path) path  len(body) body        each length 8 bytes, big-endian
/// ```
///
/// The lengths keep fields apart: path `/a` with body `b` is not path `/ab` without one. The body counts byte by byte:
/// JSON with its members in another order is another body.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a request. `path` is the request target's path with its query.
    #[must_use]
    pub fn of(method: &str, path: &str, body: &[u8]) -> Self {
        let mut digest = Sha256::new();
        digest.update(DOMAIN);
        for field in [method.as_bytes(), path.as_bytes(), body] {
            digest.update(u64::try_from(field.len()).unwrap_or(u64::MAX).to_be_bytes());
            digest.update(field);
        }
        Self(digest.finalize().into())
    }

    /// A fingerprint that was stored before.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, to store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A short body can be guessed from its digest, so the digest is not shown either.
impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(..)")
    }
}

/// Sets these digests apart from all others over similar fields; its number changes with the layout.
const DOMAIN: &[u8] = b"adit-idempotency-1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b14_shifted_fields_differ() {
        let all = [
            Fingerprint::of("POST", "/a", b"b"),
            Fingerprint::of("POST", "/ab", b""),
            Fingerprint::of("POST", "/", b"ab"),
            Fingerprint::of("POST/", "a", b"b"),
            Fingerprint::of("PUT", "/a", b"b"),
            Fingerprint::of("POST", "/a?b", b""),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(all.iter().skip(index + 1).all(|other| one != other), "{index}");
        }
        assert_eq!(all[0], Fingerprint::of("POST", "/a", b"b"));
    }

    #[test]
    fn b15_the_body_counts_byte_by_byte() {
        let plain = Fingerprint::of("POST", "/t", br#"{"a":1,"b":2}"#);
        assert_ne!(plain, Fingerprint::of("POST", "/t", br#"{"b":2,"a":1}"#));
        assert_ne!(plain, Fingerprint::of("POST", "/t", br#"{"a":1, "b":2}"#));
    }

    #[test]
    fn the_layout_is_fixed() {
        // printf 'adit-idempotency-1\0\0\0\0\0\0\0\04POST\0\0\0\0\0\0\0\02/a\0\0\0\0\0\0\0\01b' | sha256sum
        let expected = "eddbe92202eec3773beabbba5906f7335e3d5ef2db70e446686345035c85cd02";
        let hex: String =
            Fingerprint::of("POST", "/a", b"b").as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected);
    }
}
