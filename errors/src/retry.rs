use std::time::Duration;

use crate::action::NextAction;
use crate::refusal::Refusal;
use crate::retry_after::RetryAfter;
use crate::source::{Effect, Fixer, Repeat};

/// How patient a client is: from a refusal and what was tried so far, one [`Decision`].
///
/// It reads no clock and rolls no dice: the time spent and a random number are arguments, so every decision can be
/// repeated in a test.
///
/// ```
/// use std::time::Duration;
/// use adit_errors::{Attempt, Code, Decision, Fixer, Refusal, RetryPolicy};
///
/// let policy = RetryPolicy::new();
/// let attempt = Attempt::first().idempotent().with_random(u64::MAX / 2);
///
/// let offline = Refusal::from(Code::TUNNEL_OFFLINE);
/// let Decision::Retry { after, .. } = policy.decide(&offline, &attempt) else { panic!() };
/// assert!(after < Duration::from_millis(500));
///
/// let spent = Refusal::from(Code::BUDGET_EXCEEDED);
/// assert!(matches!(policy.decide(&spent, &attempt), Decision::Stop { tell: Fixer::Human, .. }));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    base: Duration,
    longest: Duration,
    max_attempts: u32,
    max_elapsed: Duration,
}

impl RetryPolicy {
    /// Backoff from 500 ms up to 30 s, at most 8 attempts within 5 minutes.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            base: Duration::from_millis(500),
            longest: Duration::from_secs(30),
            max_attempts: 8,
            max_elapsed: Duration::from_secs(300),
        }
    }

    /// Sets the bound of the first random wait; 500 ms by default. It doubles with each attempt. With 0 only the hints
    /// of refusals are waited for.
    #[must_use]
    pub const fn with_base(mut self, base: Duration) -> Self {
        self.base = base;
        self
    }

    /// Sets the largest bound of a random wait; 30 s by default. The hint of a refusal may be longer.
    #[must_use]
    pub const fn with_longest(mut self, longest: Duration) -> Self {
        self.longest = longest;
        self
    }

    /// Sets how many times a request is sent in all; 8 by default. With 0 or 1 nothing is ever repeated.
    #[must_use]
    pub const fn with_max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// Sets how long all attempts and waits may take together; 5 minutes by default. A wait that would end later is
    /// not begun.
    #[must_use]
    pub const fn with_max_elapsed(mut self, elapsed: Duration) -> Self {
        self.max_elapsed = elapsed;
        self
    }

    /// What to do about this refusal of this attempt.
    ///
    /// In this order:
    /// 1. The next action decides the kind of answer; an unknown one means stop.
    /// 2. A request that is not idempotent is not repeated if it may have taken effect.
    /// 3. `internal` is repeated once, then reported.
    /// 4. Attempts and time are bounded; a hint longer than the time left is not waited for.
    /// 5. The wait is the hint plus a random part of the backoff ("full jitter"): never shorter than asked, and never at
    ///    the same moment as everyone else who was refused together with us.
    #[must_use]
    pub fn decide(&self, refusal: &Refusal, attempt: &Attempt) -> Decision {
        let action = refusal.next_action().effective();
        if action.is_for_the_program() {
            return Decision::Change { action };
        }
        let stop = |reason| Decision::Stop { tell: refusal.fixer(), reason };
        let most = match refusal.repeat() {
            Repeat::Never => return stop(StopReason::Final),
            Repeat::Once => self.max_attempts.min(2),
            Repeat::Backoff => self.max_attempts,
        };
        if !attempt.idempotent && refusal.effect() == Effect::Possible {
            return stop(StopReason::MayHaveTakenEffect);
        }
        if attempt.number >= most {
            return stop(StopReason::Attempts);
        }
        let after = self.wait(refusal, attempt);
        if attempt.elapsed.saturating_add(after) > self.max_elapsed {
            return stop(StopReason::Time);
        }
        Decision::Retry { action, after }
    }

    fn wait(&self, refusal: &Refusal, attempt: &Attempt) -> Duration {
        let hint = refusal.retry_after().map_or(Duration::ZERO, RetryAfter::as_duration);
        if is_immediate(refusal.next_action()) && attempt.number <= 1 {
            return hint;
        }
        let doublings = attempt.number.saturating_sub(1).min(31);
        let bound = self.base.saturating_mul(1 << doublings).min(self.longest);
        hint.saturating_add(part_of(bound, attempt.random))
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::new()
    }
}

/// One request that was refused, as its sender knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    number: u32,
    elapsed: Duration,
    idempotent: bool,
    random: u64,
}

impl Attempt {
    /// The first attempt of a request that may not be carried out twice, right after it was sent; with random number 0.
    #[must_use]
    pub const fn first() -> Self {
        Self { number: 1, elapsed: Duration::ZERO, idempotent: false, random: 0 }
    }

    /// Sets which attempt it was, counted from 1.
    #[must_use]
    pub const fn with_number(mut self, number: u32) -> Self {
        self.number = number;
        self
    }

    /// Sets the time since the first attempt was begun; 0 by default.
    #[must_use]
    pub const fn with_elapsed(mut self, elapsed: Duration) -> Self {
        self.elapsed = elapsed;
        self
    }

    /// Says that carrying the request out twice does no harm: its method is idempotent (RFC 9110 §9.2.2), or it carries
    /// an `Idempotency-Key`. Not so by default.
    #[must_use]
    pub const fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// Sets the random number, uniform over all of `u64`; 0, the shortest wait, by default.
    #[must_use]
    pub const fn with_random(mut self, random: u64) -> Self {
        self.random = random;
        self
    }
}

/// What a client does about a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// Wait, then send the same request again, in the way that the action says (`RECONNECT`, `USE_NEW_CONNECTION`).
    Retry {
        /// How: [`NextAction::RETRY_WITH_BACKOFF`] just sends it again.
        action: NextAction,
        /// How long to wait first.
        after: Duration,
    },
    /// Change the request as the action says, then send the changed one. A program can do that by itself; without a
    /// way to do it, it should stop.
    Change {
        /// What to change.
        action: NextAction,
    },
    /// Stop.
    Stop {
        /// Whom to tell.
        tell: Fixer,
        /// Why.
        reason: StopReason,
    },
}

/// Why a client stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StopReason {
    /// The same request would get the same answer.
    Final,
    /// It may have taken effect, and must not do so twice.
    MayHaveTakenEffect,
    /// It was sent often enough.
    Attempts,
    /// The next attempt would be too late.
    Time,
}

impl NextAction {
    /// Whether a program can follow it without a person, by changing its request.
    fn is_for_the_program(&self) -> bool {
        [
            Self::FIX_REQUEST_AND_RETRY,
            Self::CHOOSE_DIFFERENT_SUBDOMAIN,
            Self::CHOOSE_DIFFERENT_NAME,
            Self::CHOOSE_DIFFERENT_PORT,
            Self::PROVIDE_CREDENTIALS,
            Self::FREE_QUOTA_AND_RETRY,
            Self::USE_NEW_IDEMPOTENCY_KEY,
            Self::REFRESH_AND_RETRY,
            Self::REGISTER_AGAIN,
            Self::SIGN_CSR,
        ]
        .contains(self)
    }
}

/// The first time, these lead to another place, which has not asked anyone to wait.
fn is_immediate(action: &NextAction) -> bool {
    [NextAction::RECONNECT, NextAction::USE_NEW_CONNECTION].contains(action)
}

/// `bound · random / 2^64`, so at least 0 and less than the bound.
fn part_of(bound: Duration, random: u64) -> Duration {
    let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
    let part = (u128::from(nanos) * u128::from(random)) >> 64;
    Duration::from_nanos(u64::try_from(part).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::Code;
    use crate::registry::REGISTRY;
    use proptest::prelude::*;

    #[test]
    fn requests_that_may_not_be_repeated_are_not_after_a_possible_effect() {
        let policy = RetryPolicy::new();
        let (once, often) = (Attempt::first(), Attempt::first().idempotent());
        for code in [Code::UPSTREAM_TIMEOUT, Code::INTERNAL, Code::AGENT_DISCONNECTED, Code::BAD_GATEWAY] {
            let refusal = Refusal::from(code);
            let decision = policy.decide(&refusal, &once);
            assert!(matches!(decision, Decision::Stop { reason: StopReason::MayHaveTakenEffect, .. }));
            assert!(matches!(policy.decide(&refusal, &often), Decision::Retry { .. }));
        }
        for code in [Code::TUNNEL_OFFLINE, Code::RATE_LIMITED, Code::AGENT_TIMEOUT, Code::DRAINING] {
            assert!(matches!(policy.decide(&Refusal::from(code), &once), Decision::Retry { .. }));
        }
    }

    #[test]
    fn an_internal_failure_is_repeated_once_then_reported() {
        let refusal = Refusal::internal();
        let attempt = Attempt::first().idempotent();
        let policy = RetryPolicy::new();
        assert!(matches!(policy.decide(&refusal, &attempt), Decision::Retry { .. }));
        let second = policy.decide(&refusal, &attempt.with_number(2));
        assert_eq!(second, Decision::Stop { tell: Fixer::Operator, reason: StopReason::Attempts });
    }

    #[test]
    fn a_spent_budget_goes_to_a_human() {
        let decision = RetryPolicy::new().decide(&Refusal::from(Code::BUDGET_EXCEEDED), &Attempt::first());
        assert_eq!(decision, Decision::Stop { tell: Fixer::Human, reason: StopReason::Final });
    }

    #[test]
    fn a_taken_name_is_the_programs_own_business() {
        let decision = RetryPolicy::new().decide(&Refusal::from(Code::SUBDOMAIN_TAKEN), &Attempt::first());
        assert_eq!(decision, Decision::Change { action: NextAction::CHOOSE_DIFFERENT_SUBDOMAIN });
    }

    #[test]
    fn x04_an_unknown_action_stops() {
        let action = NextAction::parse("JUGGLE").unwrap();
        let refusal = Refusal::from_parts(Code::TUNNEL_OFFLINE, Some(action), b"m");
        let decision = RetryPolicy::new().decide(&refusal, &Attempt::first().idempotent());
        assert!(matches!(decision, Decision::Stop { reason: StopReason::Final, .. }));
    }

    #[test]
    fn a_drained_gateway_is_left_at_once_then_with_backoff() {
        let policy = RetryPolicy::new();
        let attempt = Attempt::first().with_random(u64::MAX);
        let action = NextAction::RECONNECT;
        let decision = policy.decide(&Refusal::from(Code::DRAINING), &attempt);
        assert_eq!(decision, Decision::Retry { action: action.clone(), after: Duration::ZERO });
        let Decision::Retry { after, .. } =
            policy.decide(&Refusal::from(Code::DRAINING), &attempt.with_number(2))
        else {
            panic!("it may still reconnect")
        };
        assert!(after > Duration::from_millis(999));
    }

    #[test]
    fn the_bound_doubles_up_to_the_longest() {
        let policy = RetryPolicy::new().with_max_attempts(u32::MAX).with_max_elapsed(Duration::MAX);
        let refusal = Refusal::from(Code::TUNNEL_OFFLINE);
        let wait = |number| {
            let attempt = Attempt::first().with_number(number).with_random(u64::MAX);
            let Decision::Retry { after, .. } = policy.decide(&refusal, &attempt) else {
                panic!("unbounded")
            };
            after.as_millis()
        };
        assert_eq!(
            [1, 2, 3, 6, 7, 100, u32::MAX - 1].map(wait),
            [499, 999, 1999, 15_999, 29_999, 29_999, 29_999]
        );
    }

    #[test]
    fn patience_ends() {
        let policy = RetryPolicy::new().with_max_elapsed(Duration::from_secs(10));
        let refusal = Refusal::from(Code::RATE_LIMITED).with_retry_after(Duration::from_secs(9));
        let attempt = Attempt::first();
        assert!(matches!(policy.decide(&refusal, &attempt), Decision::Retry { .. }));
        let late = attempt.clone().with_elapsed(Duration::from_secs(2));
        let stop = Decision::Stop { tell: Fixer::Time, reason: StopReason::Time };
        assert_eq!(policy.decide(&refusal, &late), stop);
        let eighth = attempt.with_number(8);
        let stop = Decision::Stop { tell: Fixer::Time, reason: StopReason::Attempts };
        assert_eq!(policy.decide(&refusal, &eighth), stop);
    }

    #[test]
    fn every_code_has_a_decision_that_fits_its_action() {
        for entry in REGISTRY {
            let refusal = Refusal::from(entry.code().clone());
            let decision = RetryPolicy::new().decide(&refusal, &Attempt::first().idempotent());
            let expected = matches!(decision, Decision::Retry { .. });
            assert_eq!(entry.repeat() != Repeat::Never, expected, "{}", entry.code());
        }
    }

    proptest! {
        #[test]
        fn a_wait_is_at_least_the_hint_and_less_than_hint_plus_bound(
            millis in 1_u64..100_000, number in 1_u32..1000, random in any::<u64>(),
        ) {
            let policy = RetryPolicy::new().with_max_attempts(u32::MAX).with_max_elapsed(Duration::MAX);
            let hint = Duration::from_millis(millis);
            let refusal = Refusal::from(Code::RATE_LIMITED).with_retry_after(hint);
            let attempt = Attempt::first().with_number(number).with_random(random);
            let Decision::Retry { after, .. } = policy.decide(&refusal, &attempt) else { panic!("unbounded") };
            prop_assert!(after >= hint);
            prop_assert!(after < hint + Duration::from_secs(30));
        }

        #[test]
        fn no_input_panics(
            number in any::<u32>(), elapsed in any::<Duration>(), random in any::<u64>(), base in any::<Duration>(),
        ) {
            let policy = RetryPolicy::new().with_base(base).with_longest(base).with_max_attempts(number);
            let attempt = Attempt::first().with_number(number).with_elapsed(elapsed).with_random(random).idempotent();
            for entry in REGISTRY {
                let _ = policy.decide(&Refusal::from(entry.code().clone()), &attempt);
            }
        }
    }
}
