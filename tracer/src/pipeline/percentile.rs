//! Percentiles out of the kernel's latency buckets.

use tracer_common::limits::{LATENCY_BOUNDS_NS, LATENCY_BUCKETS};

use crate::sink::line::Latency;

/// The three that are printed; none without measurements.
pub(super) fn latency(buckets: &[u64; LATENCY_BUCKETS]) -> Option<Latency> {
    let at = |quantile| percentile_ms(buckets, quantile);
    Some(Latency { p50: at(0.50)?, p90: at(0.90)?, p99: at(0.99)? })
}

/// Linear within the bucket that holds it. The last bucket has no upper bound: its lower one is said.
fn percentile_ms(buckets: &[u64; LATENCY_BUCKETS], quantile: f64) -> Option<f64> {
    let total: u64 = buckets.iter().sum();
    if total == 0 {
        return None;
    }
    let rank = quantile * total as f64;
    let mut below = 0.0;
    for (index, count) in buckets.iter().map(|count| *count as f64).enumerate() {
        if count > 0.0 && below + count >= rank {
            let lower = index.checked_sub(1).map_or(0, |previous| LATENCY_BOUNDS_NS[previous]) as f64;
            let upper = LATENCY_BOUNDS_NS.get(index).map_or(lower, |bound| *bound as f64);
            let ns = lower + (upper - lower) * ((rank - below) / count).clamp(0.0, 1.0);
            return Some((ns / 1000.0).round() / 1000.0);
        }
        below += count;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_and_beyond_the_buckets() {
        let mut buckets = [0; LATENCY_BUCKETS];
        assert_eq!(latency(&buckets), None);
        buckets[0] = 100;
        assert_eq!(percentile_ms(&buckets, 0.5), Some(0.05));
        buckets[LATENCY_BUCKETS - 1] = 100;
        assert_eq!(percentile_ms(&buckets, 0.99), Some(10_000.0));
        assert_eq!(percentile_ms(&buckets, 0.25), Some(0.05));
    }
}
