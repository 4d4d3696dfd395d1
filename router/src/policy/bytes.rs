//! How many bytes a tunnel may move.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use crate::admission::month::month_of;

/// A budget of bytes, both ways together: `None` is without a limit, 0 lets nobody in.
///
/// A visit is let in while there is something left, and charged as its bytes move, a piece at a time: what is moved
/// beyond the budget is at most a piece for each stream that is open.
#[derive(Debug)]
pub struct ByteBudget {
    cap: Option<u64>,
    spent: AtomicU64,
    /// The latest month that [`turn`](Self::turn) was told; 0 before.
    month: AtomicU64,
}

impl ByteBudget {
    /// A budget of which nothing is spent.
    #[must_use]
    pub fn new(cap: Option<u64>) -> Self {
        Self::with_spent(cap, 0)
    }

    /// A budget of which `spent` is spent, for after a restart: whether the month has turned meanwhile only its caller knows.
    #[must_use]
    pub fn with_spent(cap: Option<u64>, spent: u64) -> Self {
        Self { cap, spent: AtomicU64::new(spent), month: AtomicU64::new(0) }
    }

    /// The same budget under another cap: what is spent stays, and in which month.
    #[must_use]
    pub fn with_cap(&self, cap: Option<u64>) -> Self {
        // The month first: a turn in between then renews the new one once more, never too seldom.
        let month = AtomicU64::new(self.month.load(Ordering::Relaxed));
        Self { cap, spent: AtomicU64::new(self.spent()), month }
    }

    /// Charges bytes that were moved. The sum saturates.
    ///
    /// # Errors
    /// [`BytesSpent`] once the budget is used up: end the stream. The bytes are charged all the same.
    pub fn charge(&self, bytes: u64) -> Result<(), BytesSpent> {
        let add = |spent: u64| Some(spent.saturating_add(bytes));
        let before = self.spent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).unwrap_or(u64::MAX);
        match self.cap {
            Some(cap) if before.saturating_add(bytes) >= cap => Err(BytesSpent {}),
            Some(_) | None => Ok(()),
        }
    }

    /// Begins anew if the month (UTC) has turned since this was called the first time; `true` if it did. Call it every now
    /// and then, from as many threads as you like: each turn renews once, and a clock that steps back over it neither
    /// refunds nor turns again.
    pub fn turn(&self, now: SystemTime) -> bool {
        let month = month_of(now);
        let before = self.month.fetch_max(month, Ordering::Relaxed);
        let has_turned = before != 0 && before < month;
        if has_turned {
            self.renew();
        }
        has_turned
    }

    /// Begins anew at once, for whoever counts other periods than months.
    pub fn renew(&self) {
        self.spent.store(0, Ordering::Relaxed);
    }

    /// Bytes charged.
    #[must_use]
    pub fn spent(&self) -> u64 {
        self.spent.load(Ordering::Relaxed)
    }

    /// The most that may be spent.
    #[must_use]
    pub fn cap(&self) -> Option<u64> {
        self.cap
    }

    pub(super) fn is_spent(&self) -> bool {
        self.cap.is_some_and(|cap| self.spent() >= cap)
    }
}

/// The budget of bytes is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tunnel's budget of bytes is used up")]
#[non_exhaustive]
pub struct BytesSpent {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn b03_null_is_without_a_limit_and_zero_is_spent_at_once() {
        assert!(ByteBudget::new(Some(0)).is_spent());
        let uncapped = ByteBudget::new(None);
        assert_eq!(uncapped.charge(u64::MAX), Ok(()));
        assert_eq!(uncapped.charge(u64::MAX), Ok(()), "saturates");
        assert!(!uncapped.is_spent());
    }

    #[test]
    fn b05_the_month_turns_a_budget_of_bytes_once_whatever_the_clock_does() {
        let january = SystemTime::UNIX_EPOCH + Duration::from_secs(30 * 86_400);
        let february = january + Duration::from_secs(86_400);
        let budget = ByteBudget::new(Some(10));
        assert!(!budget.turn(january), "the first month is none that has turned");
        assert_eq!(budget.charge(10), Err(BytesSpent {}));
        assert!(!budget.turn(february - Duration::from_secs(1)) && budget.is_spent());
        assert!(budget.turn(february) && !budget.is_spent());
        assert_eq!(budget.charge(10), Err(BytesSpent {}));
        for now in [january, february] {
            assert!(!budget.turn(now) && budget.is_spent(), "no refund, no second turn");
        }
    }

    #[test]
    fn b05_under_a_new_cap_the_month_turns_as_before() {
        let january = SystemTime::UNIX_EPOCH;
        let budget = ByteBudget::new(Some(10));
        budget.turn(january);
        assert_eq!(budget.charge(4), Ok(()));
        let lower = budget.with_cap(Some(4));
        assert_eq!((lower.cap(), lower.spent(), lower.is_spent()), (Some(4), 4, true));
        assert!(lower.turn(january + Duration::from_secs(31 * 86_400)) && !lower.is_spent());
    }

    #[test]
    fn b05_of_many_who_turn_the_month_at_once_one_does() {
        let budget = ByteBudget::new(Some(10));
        budget.turn(SystemTime::UNIX_EPOCH);
        let march = SystemTime::UNIX_EPOCH + Duration::from_secs(60 * 86_400);
        let turned = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(|| budget.turn(march))).collect();
            threads
                .into_iter()
                .filter_map(|thread| thread.join().ok())
                .filter(|has_turned| *has_turned)
                .count()
        });
        assert_eq!(turned, 1);
    }

    #[test]
    fn a_budget_is_spent_to_the_byte_and_renewed() {
        let budget = ByteBudget::with_spent(Some(10), 4);
        assert_eq!(budget.charge(5), Ok(()));
        assert!(!budget.is_spent());
        assert_eq!(budget.charge(1), Err(BytesSpent {}));
        assert!(budget.is_spent());
        budget.renew();
        assert_eq!((budget.spent(), budget.is_spent()), (0, false));
    }
}
