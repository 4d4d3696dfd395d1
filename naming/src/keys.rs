//! Keys of tunnels: internal ids, sealed into DNS labels.

use alloc::vec::Vec;
use core::{fmt, str};

use aes_siv::{KeyInit, Tag, siv::Aes128Siv};
use data_encoding::BASE32_DNSSEC;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{KeyLabelRef, TunnelId};

/// The secrets that turn internal ids into public keys and back.
///
/// A gateway that gets `3000-<key>.<zone>` opens the key and has the tunnel's id, without any lookup. Nobody else can make
/// a key, alter one, or learn an id from it. The same id gives the same key as long as the same secret seals, so
/// addresses stay what they are.
///
/// The first secret seals, all of them open: rotate by putting a new one in front, and drop the old one when the addresses
/// made with it may die.
///
/// ```
/// use adit_naming::TunnelId;
/// use adit_naming::keys::{KeyRing, RingKey};
///
/// let ring = KeyRing::new(RingKey::new(0, [7; 32]).unwrap());
/// let key = ring.seal(TunnelId::from_u128(42));
/// assert_eq!(key.as_str().len(), 53);
/// assert_eq!(ring.open(key.label()).unwrap(), TunnelId::from_u128(42));
/// ```
#[derive(Debug)]
pub struct KeyRing {
    sealing: RingKey,
    /// Those that only open; at most 31, as each has another number.
    opening: Vec<RingKey>,
}

impl KeyRing {
    /// A ring of one secret, which seals and opens.
    pub fn new(sealing: RingKey) -> Self {
        Self { sealing, opening: Vec::new() }
    }

    /// The ring with one more secret that opens only.
    ///
    /// # Errors
    /// [`KeyRingError::NumberTaken`] if one of the same number is there already. The ring is dropped then.
    pub fn with_opening(mut self, key: RingKey) -> Result<Self, KeyRingError> {
        if self.find(key.number).is_some() {
            return Err(KeyRingError::NumberTaken { number: key.number });
        }
        self.opening.push(key);
        Ok(self)
    }

    /// Seals an id into a key. Allocates nothing.
    pub fn seal(&self, id: TunnelId) -> TunnelKey {
        let mut body = [0; BODY_LEN];
        let (tag_place, id_place) = body.split_at_mut(TAG_LEN);
        id_place.copy_from_slice(&id.to_bytes());
        let tag = self
            .sealing
            .cipher()
            .encrypt_inout_detached(self.sealing.associated_data(), id_place.into())
            .expect("two headers are below the limit of RFC 5297, 126");
        tag_place.copy_from_slice(&tag);
        let mut text = [0; TunnelKey::LEN];
        text[0] = digit(self.sealing.number);
        BASE32_DNSSEC.encode_mut(&body, &mut text[1..]);
        TunnelKey(text)
    }

    /// Opens a key. Allocates nothing.
    ///
    /// # Errors
    /// [`OpenKeyError`]; to a visitor all of them are one: there is no such tunnel.
    pub fn open(&self, key: KeyLabelRef<'_>) -> Result<TunnelId, OpenKeyError> {
        let [number, text @ ..] = key.as_str().as_bytes() else { return Err(OpenKeyError::Malformed {}) };
        let mut body = [0; BODY_LEN];
        if text.len() != TunnelKey::LEN - 1 {
            return Err(OpenKeyError::Malformed {});
        }
        // Refuses text whose unused last bits are set, so that every key has one spelling.
        BASE32_DNSSEC.decode_mut(text, &mut body).map_err(|_| OpenKeyError::Malformed {})?;
        let number = value(*number).ok_or(OpenKeyError::Malformed {})?;
        let secret = self.find(number).ok_or(OpenKeyError::UnknownSecret { number })?;
        let (tag, id) = body.split_at_mut(TAG_LEN);
        let tag = Tag::try_from(&*tag).map_err(|_| OpenKeyError::Malformed {})?;
        secret
            .cipher()
            .decrypt_inout_detached(secret.associated_data(), (&mut *id).into(), &tag)
            .map_err(|_| OpenKeyError::Forged {})?;
        let id = id.try_into().map_err(|_| OpenKeyError::Malformed {})?;
        Ok(TunnelId::from_bytes(id))
    }

    /// Whether the secret that seals now also sealed this key; if not, its address should be handed out anew before the
    /// old secret is dropped. Says nothing about whether the key is genuine.
    pub fn is_current(&self, key: KeyLabelRef<'_>) -> bool {
        key.as_str().bytes().next().and_then(value) == Some(self.sealing.number)
    }

    fn find(&self, number: u8) -> Option<&RingKey> {
        core::iter::once(&self.sealing).chain(&self.opening).find(|key| key.number == number)
    }
}

/// One secret of a [`KeyRing`]: 32 bytes for AES-SIV with AES-128 (RFC 5297) and a number that keys carry in clear.
///
/// Wiped when dropped, and never printed.
pub struct RingKey {
    number: u8,
    secret: Zeroizing<[u8; 32]>,
}

impl RingKey {
    /// The largest number: it is one digit of base 32.
    pub const MAX_NUMBER: u8 = 31;

    /// A secret from 32 random bytes. Give a new secret a number that no earlier one has that still may open.
    ///
    /// # Errors
    /// [`KeyRingError::NumberTooLarge`] for a number above 31.
    pub fn new(number: u8, secret: [u8; 32]) -> Result<Self, KeyRingError> {
        if number > Self::MAX_NUMBER {
            return Err(KeyRingError::NumberTooLarge { number });
        }
        Ok(Self { number, secret: Zeroizing::new(secret) })
    }

    /// The number that keys carry.
    pub fn number(&self) -> u8 {
        self.number
    }

    fn cipher(&self) -> Aes128Siv {
        Aes128Siv::new((&*self.secret).into())
    }

    /// Bound into every key, so that nothing else sealed with the same secret passes for one, nor under another number.
    fn associated_data(&self) -> [AssociatedData; 2] {
        [AssociatedData::Purpose, AssociatedData::Number([self.number])]
    }
}

impl fmt::Debug for RingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingKey").field("number", &self.number).finish_non_exhaustive()
    }
}

/// A sealed id: 53 octets of `0-9a-v`, so that `{port}-{key}` is a label of at most 59.
///
/// ```text
///  octet 0          octets 1..=52: base32hex in lower case (RFC 4648 §7, RFC 5155), without padding
/// +----------------+------------------------------+------------------------------+
/// | secret number  | synthetic IV, 16 bytes       | encrypted id, 16 bytes       |
/// +----------------+------------------------------+------------------------------+
/// ```
///
/// Where a tunnel is open to everybody, its key is all that protects it: `Debug` hides it, `Display` is for addresses.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
// Invariant: a valid key label.
pub struct TunnelKey([u8; Self::LEN]);

impl TunnelKey {
    /// Octets of every key.
    pub const LEN: usize = 53;

    /// The key as text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("only digits of base 32 were stored")
    }

    /// The key as the label in which it travels.
    pub fn label(&self) -> KeyLabelRef<'_> {
        KeyLabelRef::assume_valid(self.as_str())
    }
}

impl fmt::Display for TunnelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for TunnelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TunnelKey").finish_non_exhaustive()
    }
}

/// Why a ring can't be put together.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyRingError {
    /// Numbers are 0–31.
    #[error("the number {number} of a secret is above 31")]
    NumberTooLarge {
        /// The number.
        number: u8,
    },
    /// Two secrets of one number: a key would not say which one sealed it.
    #[error("two secrets have the number {number}")]
    NumberTaken {
        /// The number.
        number: u8,
    },
}

/// Why a key can't be opened. The tunnel doesn't exist, as far as a visitor is concerned.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenKeyError {
    /// Another length, or other digits than a key has.
    #[error("this is no tunnel key")]
    Malformed {},
    /// The ring has no secret of this number: it was dropped, or never was.
    #[error("the secret {number} of this key is not in the ring")]
    UnknownSecret {
        /// The number.
        number: u8,
    },
    /// The key was altered, or sealed with another secret.
    #[error("this key is not genuine")]
    Forged {},
}

#[derive(Clone, Copy)]
enum AssociatedData {
    Purpose,
    Number([u8; 1]),
}

impl AsRef<[u8]> for AssociatedData {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Purpose => b"adit tunnel key 1",
            Self::Number(number) => number,
        }
    }
}

const TAG_LEN: usize = 16;
const BODY_LEN: usize = TAG_LEN + 16;

/// The digit of base 32 with a value up to 31.
fn digit(value: u8) -> u8 {
    match value {
        0..=9 => b'0' + value,
        _ => b'a' + (value - 10),
    }
}

fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'v' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::String};

    use proptest::prelude::*;

    use super::*;

    fn ring() -> KeyRing {
        KeyRing::new(RingKey::new(3, [0x5a; 32]).unwrap())
    }

    fn open(ring: &KeyRing, text: &str) -> Result<TunnelId, OpenKeyError> {
        ring.open(KeyLabelRef::parse(text).unwrap())
    }

    #[test]
    fn the_same_id_gives_the_same_key_and_fits_with_every_port() {
        let id = TunnelId::from_u128(u128::MAX / 3);
        let key = ring().seal(id);
        assert_eq!(key, ring().seal(id));
        assert_ne!(key, ring().seal(TunnelId::from_u128(1)));
        assert!(key.as_str().starts_with('3'));
        assert!(crate::Label::parse(&format!("65535-{key}")).is_ok());
        assert!(crate::TunnelNameRef::parse(key.as_str()).is_ok(), "letters and digits only");
    }

    #[test]
    fn every_altered_character_is_noticed() {
        let ring = ring();
        let key = ring.seal(TunnelId::from_u128(42));
        for at in 0..TunnelKey::LEN {
            for other in "0123456789abcdefghijklmnopqrstuvwxyz-".chars() {
                let mut text = String::from(key.as_str());
                text.replace_range(at..=at, &format!("{other}"));
                let Some(label) = KeyLabelRef::parse(&text) else { continue };
                assert_eq!(ring.open(label).is_ok(), text == key.as_str(), "{text}");
            }
        }
    }

    #[test]
    fn other_lengths_and_alphabets_are_malformed() {
        let key = ring().seal(TunnelId::from_u128(42));
        for text in ["x", "k2x", &key.as_str()[1..], &format!("{key}0"), &format!("w{}", &key.as_str()[1..])]
        {
            assert_eq!(open(&ring(), text), Err(OpenKeyError::Malformed {}), "{text}");
        }
    }

    #[test]
    fn rotation_opens_old_keys_until_their_secret_is_dropped() {
        let old = KeyRing::new(RingKey::new(0, [1; 32]).unwrap());
        let key = old.seal(TunnelId::from_u128(42));
        let both = KeyRing::new(RingKey::new(1, [2; 32]).unwrap())
            .with_opening(RingKey::new(0, [1; 32]).unwrap())
            .unwrap();
        assert_eq!(both.open(key.label()), Ok(TunnelId::from_u128(42)));
        assert!(!both.is_current(key.label()) && old.is_current(key.label()));
        let renewed = both.seal(TunnelId::from_u128(42));
        assert_ne!(renewed, key);
        assert_eq!(both.open(renewed.label()), Ok(TunnelId::from_u128(42)));
        let new = KeyRing::new(RingKey::new(1, [2; 32]).unwrap());
        assert_eq!(new.open(key.label()), Err(OpenKeyError::UnknownSecret { number: 0 }));
        let reused = KeyRing::new(RingKey::new(0, [3; 32]).unwrap());
        assert_eq!(reused.open(key.label()), Err(OpenKeyError::Forged {}));
    }

    #[test]
    fn numbers_are_one_digit_and_stand_once() {
        assert_eq!(RingKey::new(32, [0; 32]).unwrap_err(), KeyRingError::NumberTooLarge { number: 32 });
        let twice = ring().with_opening(RingKey::new(3, [0; 32]).unwrap());
        assert_eq!(twice.unwrap_err(), KeyRingError::NumberTaken { number: 3 });
        let highest = KeyRing::new(RingKey::new(31, [0; 32]).unwrap());
        assert!(highest.seal(TunnelId::from_u128(0)).as_str().starts_with('v'));
    }

    #[test]
    fn nothing_prints_a_secret_or_a_key() {
        let ring = KeyRing::new(RingKey::new(3, *b"canary-canary-canary-canary-1234").unwrap());
        let key = ring.seal(TunnelId::from_u128(42));
        let printed = format!("{ring:?} {key:?} {:?}", ring.open(KeyLabelRef::parse("x").unwrap()));
        assert!(
            !printed.contains("canary") && !printed.contains("99, 97") && !printed.contains(key.as_str())
        );
    }

    #[test]
    fn the_bytes_of_a_key_never_change() {
        // Addresses outlive releases. OpenSSL's AES-SIV gives the same bytes for this secret, id and associated data.
        let ring =
            KeyRing::new(RingKey::new(0, core::array::from_fn(|at| u8::try_from(at).unwrap())).unwrap());
        let key = ring.seal(TunnelId::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff));
        assert_eq!(key.as_str(), "09e39o2sc1brhp06in3bsh392rme3aj7kd5pb1ufeon31im3don70");
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(id: u128, number in 0..32u8, secret: [u8; 32]) {
            let ring = KeyRing::new(RingKey::new(number, secret).unwrap());
            prop_assert_eq!(ring.open(ring.seal(TunnelId::from_u128(id)).label()), Ok(TunnelId::from_u128(id)));
        }

        #[test]
        fn no_guess_opens(text in "[0-9a-v]{53}") {
            prop_assert!(open(&ring(), &text).is_err());
        }
    }
}
