//! The few statistics that the tables need.

/// The middle value, or the mean of the two middle ones; `None` without values.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    match sorted.len() % 2 {
        0 => Some((sorted[sorted.len() / 2 - 1] + upper) / 2.0),
        _ => Some(upper),
    }
}

/// The smallest sample that at least `permille` of a thousand samples don't exceed (nearest rank); sorts `samples`.
#[must_use]
pub fn percentile(samples: &mut [u64], permille: usize) -> Option<u64> {
    samples.sort_unstable();
    let rank = samples.len().checked_mul(permille)?.div_ceil(1000);
    samples.get(rank.max(1) - 1).copied()
}

/// Jain's fairness index: 1 when all shares are equal, 1/n when one takes all; `None` when nobody got anything.
#[must_use]
pub fn jain_index(shares: &[u64]) -> Option<f64> {
    let sum: f64 = shares.iter().copied().map(float).sum();
    let squares: f64 = shares.iter().map(|&share| float(share) * float(share)).sum();
    (squares > 0.0).then(|| sum * sum / (squares * shares.iter().map(|_| 1.0).sum::<f64>()))
}

/// A count as a number for ratios; exact up to 2^53.
#[must_use]
#[expect(clippy::as_conversions, reason = "the standard library has no other way; a rounded ratio is fine")]
pub fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_two() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn percentiles_use_the_nearest_rank() {
        let mut samples: Vec<u64> = (1..=100).rev().collect();
        assert_eq!(percentile(&mut samples, 500), Some(50));
        assert_eq!(percentile(&mut samples, 990), Some(99));
        assert_eq!(percentile(&mut samples, 0), Some(1));
        assert_eq!(percentile(&mut samples, 1000), Some(100));
        assert_eq!(percentile(&mut [], 500), None);
    }

    #[test]
    fn the_index_tells_equal_shares_from_a_single_winner() {
        assert_eq!(jain_index(&[5, 5, 5, 5]), Some(1.0));
        assert_eq!(jain_index(&[8, 0, 0, 0]), Some(0.25));
        assert_eq!(jain_index(&[0, 0]), None);
    }
}
