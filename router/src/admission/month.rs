//! Calendar months, by which budgets are counted.

use std::time::SystemTime;

/// Months since the year 0 in the proleptic Gregorian calendar, UTC. Before 1970 it is 1970.
pub(crate) fn month_of(now: SystemTime) -> u64 {
    let days = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() / 86_400;
    // Years begin in March, so that the leap day is the last of one. 719,468 days before 1970 began March of the year 0.
    let days = days.saturating_add(719_468);
    let (era, day_of_era) = (days / DAYS_OF_ERA, days % DAYS_OF_ERA);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    (era * 400 + year_of_era) * 12 + march_month + 2
}

/// Days in 400 years, after which the calendar repeats.
const DAYS_OF_ERA: u64 = 146_097;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn months_begin_where_the_calendar_says() {
        // Seconds of the first moment of a month, checked with `date -u`.
        for (second, year, month) in [
            (0, 1970, 1),
            (2_678_400, 1970, 2),
            (951_782_400 + 86_400, 2000, 3),
            (1_709_251_200, 2024, 3),
            (1_735_689_600, 2025, 1),
            (4_107_542_400, 2100, 3),
        ] {
            let first = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
            assert_eq!(month_of(first), year * 12 + month - 1, "{year}-{month}");
            if second > 0 {
                assert_eq!(month_of(first - Duration::from_secs(1)), year * 12 + month - 2, "{year}-{month}");
            }
        }
    }
}
