use std::time::{Duration, SystemTime};

/// When to renew a certificate: at two thirds of its life, moved by up to a tenth of it either way, so that agents
/// which were all started at once do not all come back at once.
///
/// `random` picks the place: 0 is the earliest, `u32::MAX` the latest. Draw it once for each certificate. Whoever is
/// refused tries again from there on, with backoff; a third of the life, less the tenth, is left for that.
///
/// Where the certificate authority names a moment itself (RFC 9773), that one is better.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use adit_tls_modes::renew_at;
///
/// let day = |count: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(count * 86_400);
/// assert_eq!(renew_at(day(0), day(90), 0), day(51));
/// assert_eq!(renew_at(day(0), day(90), u32::MAX), day(69));
/// ```
pub fn renew_at(not_before: SystemTime, not_after: SystemTime, random: u32) -> SystemTime {
    let life = not_after.duration_since(not_before).unwrap_or_default();
    let earliest = life.saturating_mul(17) / 30;
    let spread = life / 5;
    let offset = earliest.saturating_add(share(spread, random));
    not_before.checked_add(offset).unwrap_or(not_after)
}

/// How long to wait after a renewal that failed, before the next attempt: 1 minute after the first `failures`, twice as
/// long after each further one, at most 6 hours, less up to a half of it, picked by `random`, so that many who were
/// refused together come back one by one.
///
/// Where the refusal names a wait, that one is better.
///
/// ```
/// use std::time::Duration;
/// use adit_tls_modes::retry_after;
///
/// assert_eq!(retry_after(1, u32::MAX), Duration::from_secs(60));
/// assert_eq!(retry_after(3, 0), Duration::from_secs(120));
/// assert_eq!(retry_after(1_000, u32::MAX), Duration::from_secs(6 * 3_600));
/// ```
pub fn retry_after(failures: u32, random: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(MAX_DOUBLINGS);
    let longest = FIRST_RETRY.saturating_mul(1 << doublings).min(LAST_RETRY);
    longest / 2 + share(longest / 2, random)
}

/// `random` out of `u32::MAX` parts, in whole seconds.
fn share(spread: Duration, random: u32) -> Duration {
    let seconds = u128::from(spread.as_secs()) * u128::from(random) / u128::from(u32::MAX);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX))
}

const FIRST_RETRY: Duration = Duration::from_secs(60);
const LAST_RETRY: Duration = Duration::from_secs(6 * 3_600);
/// Beyond it the longest wait is reached anyway.
const MAX_DOUBLINGS: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_lies_within_the_life_for_every_draw() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        for life in [1, 60, 3_600, 7_776_000] {
            let end = start + Duration::from_secs(life);
            for random in [0, 1, u32::MAX / 2, u32::MAX] {
                let at = renew_at(start, end, random);
                assert!(start <= at && at < end, "{life} {random}");
            }
        }
    }

    #[test]
    fn a_life_that_ends_before_it_starts_is_renewed_at_once() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        assert_eq!(renew_at(start, SystemTime::UNIX_EPOCH, 7), start);
    }
}
