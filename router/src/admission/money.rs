//! Cents, and what a budget of them means.

use std::fmt;
use std::str::FromStr;

use adit_errors::{Code, Refusal};

/// Whole US cents, never negative. Sums saturate: what is too large to count is too large to spend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cents(u64);

impl Cents {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// So many cents.
    #[must_use]
    pub const fn new(cents: u64) -> Self {
        Self(cents)
    }

    /// The number of cents.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// Reads a JSON number as a budget writes it: digits alone. A sign, a fraction or an exponent is refused, not rounded:
/// a cap that was misread is no cap (case B-04).
impl FromStr for Cents {
    type Err = CentsError;

    fn from_str(text: &str) -> Result<Self, CentsError> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(CentsError::NotWhole {});
        }
        text.parse().map(Self).map_err(|_| CentsError::TooLarge {})
    }
}

impl fmt::Display for Cents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cents", self.0)
    }
}

/// A text that is no amount of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CentsError {
    /// Negative, fractional, or no number.
    #[error("an amount is a whole number of cents, written in digits")]
    NotWhole {},
    /// Beyond 2⁶⁴ - 1.
    #[error("the amount is too large")]
    TooLarge {},
}

impl From<&CentsError> for Refusal {
    fn from(error: &CentsError) -> Self {
        Self::new(Code::VALIDATION_FAILED, error.to_string())
    }
}

/// What may be spent in a month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "null, zero and a number are all that the API can say")]
pub enum Budget {
    /// `null`: without a limit.
    Uncapped,
    /// `0`: nothing at all, not even what would be free. For incidents.
    Frozen,
    /// A number.
    Capped(Cents),
}

impl Budget {
    /// The budget that the API's value means: `null`, zero, or a number.
    #[must_use]
    pub fn from_cap(cap: Option<Cents>) -> Self {
        match cap {
            None => Self::Uncapped,
            Some(Cents::ZERO) => Self::Frozen,
            Some(cap) => Self::Capped(cap),
        }
    }

    /// Whether `total` may be spent.
    pub(super) fn allows(self, total: Cents) -> bool {
        match self {
            Self::Uncapped => true,
            Self::Frozen => false,
            // What saturated may be any amount, so that no cap allows it.
            Self::Capped(cap) => total <= cap && total.0 < u64::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b04_only_whole_cents_are_money() {
        assert_eq!("5000".parse(), Ok(Cents::new(5_000)));
        assert_eq!("18446744073709551615".parse(), Ok(Cents::new(u64::MAX)));
        for text in ["-1", "+1", "1.5", "1e3", "", " 1", "0x10", "NaN", "١"] {
            assert_eq!(text.parse::<Cents>(), Err(CentsError::NotWhole {}), "{text:?}");
        }
        let too_large = "18446744073709551616".parse::<Cents>().unwrap_err();
        assert_eq!(Refusal::from(&too_large).code(), &Code::VALIDATION_FAILED);
    }

    #[test]
    fn b03_null_zero_and_a_number_are_three_things() {
        assert!(Budget::from_cap(None).allows(Cents::new(u64::MAX)));
        assert!(!Budget::from_cap(Some(Cents::ZERO)).allows(Cents::ZERO));
        let capped = Budget::from_cap(Some(Cents::new(10)));
        assert!(capped.allows(Cents::new(10)) && !capped.allows(Cents::new(11)));
    }

    #[test]
    fn b04_sums_saturate_and_no_cap_allows_what_saturated() {
        let sum = Cents::new(u64::MAX).plus(Cents::new(u64::MAX));
        assert_eq!(sum, Cents::new(u64::MAX));
        assert!(!Budget::from_cap(Some(Cents::new(u64::MAX))).allows(sum));
    }
}
