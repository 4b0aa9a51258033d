//! Ratios of neighbouring runs, and what they say together.

use std::fmt;

use anyhow::Result;
use serde::Serialize;

/// A median with the interval that holds the true one with 95 % probability, whatever the distribution: the order
/// statistics at n/2 ± 0.98 √n (binomial, by its normal approximation).
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) pairs: usize,
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} ({:.3} to {:.3})", self.median, self.low, self.high)
    }
}

impl Ratio {
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let n = values.len();
        if n == 0 {
            return Self { median: f64::NAN, low: f64::NAN, high: f64::NAN, pairs: 0 };
        }
        let median = if n % 2 == 1 { values[n / 2] } else { f64::midpoint(values[n / 2 - 1], values[n / 2]) };
        let reach = 0.98 * (n as f64).sqrt();
        let low = (n as f64 / 2.0 - reach).floor().max(0.0) as usize;
        let high = ((n as f64 / 2.0 + reach).ceil() as usize).min(n - 1);
        Self { median, low: values[low], high: values[high], pairs: n }
    }
}

/// One run beside two of the kind that all are compared with.
#[derive(Debug)]
pub(crate) struct Pair<T> {
    kind: usize,
    before: T,
    run: T,
    after: T,
}

/// What [`interleave`] gave.
#[derive(Debug)]
pub(crate) struct Pairs<T> {
    pairs: Vec<Pair<T>>,
    kinds: usize,
}

impl<T> Pairs<T> {
    /// Ratios of a measure: of each kind of run to the runs without beside it, and last of runs without to those beside
    /// them, which is what chance alone does.
    pub(crate) fn ratios(&self, measure: impl Fn(&T) -> f64) -> Vec<Ratio> {
        let of = |kind| {
            let pairs = self.pairs.iter().filter(|pair| pair.kind == kind);
            let ratio =
                |pair: &Pair<T>| measure(&pair.run) / f64::midpoint(measure(&pair.before), measure(&pair.after));
            Ratio::of(pairs.map(ratio).collect())
        };
        (0..=self.kinds).map(of).collect()
    }

    /// The median of a measure in the runs without.
    pub(crate) fn without(&self, measure: impl Fn(&T) -> f64) -> f64 {
        Ratio::of(self.pairs.iter().map(|pair| measure(&pair.before)).collect()).median
    }
}

/// Runs `without, with 0, without, with 1, …` as many rounds.
pub(crate) fn interleave<T: Copy>(
    rounds: usize,
    kinds: usize,
    mut run: impl FnMut(Option<usize>) -> Result<T>,
) -> Result<Pairs<T>> {
    let mut pairs = Vec::with_capacity(rounds * (kinds + 1));
    let mut before = run(None)?;
    let mut earlier = None;
    for round in 0..rounds {
        for step in 0..kinds {
            // Not always in the same order: what one kind leaves behind falls on all the others.
            let kind = (step + round) % kinds;
            let with = run(Some(kind))?;
            let after = run(None)?;
            pairs.push(Pair { kind, before, run: with, after });
            if let Some(earlier) = earlier
                && step == 0
            {
                pairs.push(Pair { kind: kinds, before: earlier, run: before, after });
            }
            earlier = Some(before);
            before = after;
        }
    }
    Ok(Pairs { pairs, kinds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_holds_the_median() {
        let ratio = Ratio::of((1..=30).rev().map(f64::from).collect());
        assert!((ratio.median - 15.5).abs() < 1e-9, "{ratio:?}");
        assert!((ratio.low - 10.0).abs() < 1e-9 && (ratio.high - 22.0).abs() < 1e-9, "{ratio:?}");
        assert!((Ratio::of(vec![2.0]).high - 2.0).abs() < 1e-9 && Ratio::of(vec![]).median.is_nan());
    }

    #[test]
    fn a_drift_of_the_machine_is_no_cost() {
        let mut speed = 100.0;
        let pairs = interleave(30, 2, |kind| {
            speed -= 0.3;
            Ok(if kind == Some(1) { speed * 0.5 } else { speed })
        });
        let ratios = pairs.unwrap().ratios(|speed| *speed);
        assert!((ratios[0].median - 1.0).abs() < 1e-3 && (ratios[1].median - 0.5).abs() < 1e-3, "{ratios:?}");
        assert!((ratios[2].median - 1.0).abs() < 1e-3 && ratios[2].pairs == 29, "{ratios:?}");
    }
}
