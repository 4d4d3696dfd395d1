//! Names that a machine chooses.

use thiserror::Error;

use crate::{NameRules, TunnelName, TunnelNameRef};

mod words;

/// How a chosen name looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum NameStyle {
    /// Two words and six digits and consonants: `quiet-heron-7kx2mp`. 42 bits of randomness.
    #[default]
    Readable,
    /// Sixteen digits and consonants: `c9w4kztp2m7xhq3v`. 76 bits of randomness: for names that shouldn't be guessed, though
    /// only a key (`keys`) is made for that.
    Opaque,
}

impl TunnelName {
    /// Makes a name of random bits. Give every call 128 fresh bits from a good source; the same bits give the same name.
    ///
    /// The name may be reserved or taken, if hardly: [`NameRules::generate`] and
    /// [`Registry::claim_generated`](crate::ownership::Registry::claim_generated) look.
    pub fn from_random(style: NameStyle, random: u128) -> Self {
        let mut digits = Digits(random);
        let mut text = alloc::string::String::with_capacity(Self::MAX_LEN);
        let suffix = match style {
            NameStyle::Readable => {
                for words in [&words::ADJECTIVES, &words::NOUNS] {
                    text.push_str(words[digits.next(words.len())]);
                    text.push('-');
                }
                6
            }
            NameStyle::Opaque => 16,
        };
        for _ in 0..suffix {
            text.push(char::from(ALPHABET[digits.next(ALPHABET.len())]));
        }
        Self::assume_valid(text)
    }
}

impl NameRules {
    /// Chooses a name that these rules allow and `is_new` says nobody ever had.
    ///
    /// `random` gives 128 fresh random bits each time it is called.
    ///
    /// # Errors
    /// [`GenerateError::Exhausted`] if 32 names in a row were refused: `random` isn't, or `is_new` refuses all.
    pub fn generate(
        &self,
        style: NameStyle,
        mut random: impl FnMut() -> u128,
        mut is_new: impl FnMut(TunnelNameRef<'_>) -> bool,
    ) -> Result<TunnelName, GenerateError> {
        (0..MAX_TRIES)
            .map(|_| TunnelName::from_random(style, random()))
            .find(|name| self.check(name.borrowed()).is_ok() && is_new(name.borrowed()))
            .ok_or(GenerateError::Exhausted {})
    }
}

/// Why no name was chosen.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// 32 names in a row were refused, which honest randomness does not do.
    #[error("no free name was found in 32 tries")]
    Exhausted {},
}

/// Takes a random number apart, digit by digit. The bias is below 2⁻⁵⁰, as the number has that many bits more than are
/// taken from it.
struct Digits(u128);

impl Digits {
    fn next(&mut self, base: usize) -> usize {
        // Both bases are at most 128, so neither conversion can fail.
        let base = u128::try_from(base).unwrap_or(1);
        let digit = self.0 % base;
        self.0 /= base;
        usize::try_from(digit).unwrap_or(0)
    }
}

/// Digits and consonants: no vowels, so that no words come about, and nothing that looks like something else.
const ALPHABET: [u8; 28] = *b"23456789bcdfghjkmnpqrstvwxyz";

const MAX_TRIES: usize = 32;

#[cfg(test)]
mod tests {
    use alloc::{collections::BTreeSet, string::ToString, vec::Vec};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        ReservedNames, Timestamp,
        ownership::{MemoryStore, NameStatus, OwnerId, OwnershipRules, Registry},
    };

    /// A generator for tests only: splitmix64 twice.
    struct Seeded(u64);

    impl Seeded {
        fn next(&mut self) -> u128 {
            u128::from(self.step()) << 64 | u128::from(self.step())
        }

        fn step(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }
    }

    const OWNER: OwnerId = OwnerId::from_u128(1);
    const NOW: Timestamp = Timestamp::from_unix_millis(1_800_000_000_000);

    #[test]
    fn n14_100_000_names_are_valid_distinct_unreserved_and_new() {
        let rules = NameRules::default();
        for style in [NameStyle::Readable, NameStyle::Opaque] {
            let mut random = Seeded(7);
            let mut seen = BTreeSet::new();
            for _ in 0..100_000 {
                let name =
                    rules.generate(style, || random.next(), |name| !seen.contains(name.as_str())).unwrap();
                assert!(TunnelNameRef::parse(name.as_str()).is_ok(), "{name}");
                assert_eq!(rules.reserved().look_alike(name.borrowed()), None, "{name}");
                assert!(seen.insert(name.to_string()));
            }
        }
    }

    #[test]
    fn n14_names_once_owned_are_never_chosen_again() {
        let mut registry = Registry::new(MemoryStore::new(), OwnershipRules::default());
        let rules = NameRules::default();
        let once = registry.claim_generated(&rules, NameStyle::Readable, OWNER, NOW, || 42).unwrap();
        let name = once.name().to_owned();
        registry.release(once, NOW).unwrap();
        registry.force(name.borrowed()).unwrap();
        assert_eq!(registry.status(name.borrowed(), NOW), Ok(NameStatus::Free { once_owned: true }));
        // The same bits again, then others: the second name is another one.
        let mut bits = [42, 42, 43].into_iter();
        let claim = registry
            .claim_generated(&rules, NameStyle::Readable, OWNER, NOW, || bits.next().unwrap())
            .unwrap();
        assert_ne!(claim.name(), name.borrowed());
        assert!(registry.claim_generated(&rules, NameStyle::Readable, OWNER, NOW, || 42).is_err());
    }

    #[test]
    fn reserved_and_filtered_names_are_passed_over() {
        let unlucky = TunnelName::from_random(NameStyle::Opaque, 1);
        let mut reserved = ReservedNames::none();
        reserved.add(unlucky.clone());
        let mut bits = [1, 2].into_iter();
        let name =
            NameRules::new(reserved).generate(NameStyle::Opaque, || bits.next().unwrap(), |_| true).unwrap();
        assert_ne!(name, unlucky);
        let nothing = NameRules::default().with_filter(|_: TunnelNameRef<'_>, _: &crate::Skeleton| true);
        assert_eq!(nothing.generate(NameStyle::Opaque, || 1, |_| true), Err(GenerateError::Exhausted {}));
    }

    #[test]
    fn both_styles_have_40_bits_at_least() {
        let words: BTreeSet<&str> = words::ADJECTIVES.iter().chain(&words::NOUNS).copied().collect();
        assert_eq!(words.len(), 256);
        assert!(
            words.iter().all(|word| word.len() <= 8 && word.bytes().all(|byte| byte.is_ascii_lowercase()))
        );
        let alphabet: BTreeSet<u8> = ALPHABET.into_iter().collect();
        assert_eq!(alphabet.len(), 28);
        assert!(128u64.pow(2) * 28u64.pow(6) > 1 << 42);
        assert!(28u128.pow(16) > 1 << 76);
        let example = TunnelName::from_random(NameStyle::Readable, 0x0123_4567_89ab_cdef);
        let parts: Vec<&str> = example.as_str().split('-').collect();
        assert_eq!((parts.len(), parts[2].len()), (3, 6));
    }

    proptest! {
        #[test]
        fn all_bits_give_names_that_are_no_port_prefix(random: u128) {
            for style in [NameStyle::Readable, NameStyle::Opaque] {
                let name = TunnelName::from_random(style, random);
                prop_assert!(TunnelNameRef::parse(name.as_str()).is_ok());
                prop_assert!(crate::PortPrefix::of(name.as_str()).is_none());
            }
        }
    }
}
