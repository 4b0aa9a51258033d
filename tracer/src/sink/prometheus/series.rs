//! Label sets and their values, bounded: what the traffic names must never decide how many series there are.
//!
//! 1. A metric has at most `limit` label sets. What comes beyond goes to overflow series, whose unbounded labels are
//!    `_other`; labels that are few by nature (a cause, a reason) are kept, so sums over them stay right.
//! 2. A label set of a workload that is gone, or that nothing was counted for in a long time, is removed.

use indexmap::IndexMap;
use rustc_hash::FxBuildHasher;

use super::catalog::{DURATION_BOUNDS, FAMILIES, Family, Kind, Metric, OptIn};
use crate::event::Ktime;

/// Value of the unbounded labels of an overflow series.
pub(super) const OVERFLOW: &str = "_other";
/// Between label values in a key; no name in a cluster has it.
const SEPARATOR: char = '\u{1f}';
const BUCKETS: usize = DURATION_BOUNDS.len() + 1;

/// Which labels there are, and how many sets of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Label sets of one metric.
    pub per_metric: usize,
    pub opt_in: Vec<OptIn>,
}

/// The trace that stands for a counted failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceExemplar {
    pub trace_id: String,
    /// Since the Unix epoch.
    pub at_ns: i64,
}

/// A value, by kind of metric.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Number(f64),
    Histogram { buckets: [u64; BUCKETS], sum: f64 },
}

#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) value: Value,
    pub(super) exemplar: Option<TraceExemplar>,
    used: Ktime,
}

#[derive(Debug, Default)]
struct State {
    samples: IndexMap<Box<str>, Sample, FxBuildHasher>,
    /// What the overflow series took.
    overflowed: u64,
}

/// All label sets of all metrics.
#[derive(Debug)]
pub struct Store {
    limits: Limits,
    states: Vec<State>,
    key: String,
}

impl Store {
    pub fn new(limits: Limits) -> Self {
        let states = FAMILIES.iter().map(|_| State::default()).collect();
        Self { limits, states, key: String::new() }
    }

    /// Whether the configuration asks for a label.
    pub fn has(&self, opt_in: OptIn) -> bool {
        self.limits.opt_in.contains(&opt_in)
    }

    /// Adds to a counter. Label values in the catalogue's order; an empty one is absent.
    pub fn add(&mut self, metric: Metric, labels: &[&str], by: f64, now: Ktime) {
        if let Value::Number(number) = &mut self.sample(metric, labels, now).value {
            *number += by;
        }
    }

    /// Adds to a counter and says which trace stands for it.
    pub fn add_traced(&mut self, metric: Metric, labels: &[&str], by: f64, exemplar: TraceExemplar, now: Ktime) {
        let sample = self.sample(metric, labels, now);
        if let Value::Number(number) = &mut sample.value {
            *number += by;
        }
        sample.exemplar = Some(exemplar);
    }

    /// Sets a gauge, or a counter to a total that is kept elsewhere.
    pub fn set(&mut self, metric: Metric, labels: &[&str], to: f64, now: Ktime) {
        self.sample(metric, labels, now).value = Value::Number(to);
    }

    /// Adds one duration to a histogram.
    pub fn observe(&mut self, metric: Metric, labels: &[&str], seconds: f64, now: Ktime) {
        let bucket = DURATION_BOUNDS.partition_point(|bound| seconds > *bound);
        let mut counts = [0; BUCKETS];
        counts[bucket] = 1;
        self.merge(metric, labels, &counts, seconds, now);
    }

    /// Adds counted durations to a histogram: how many by bucket, and their sum in seconds.
    pub fn merge(&mut self, metric: Metric, labels: &[&str], counts: &[u64; BUCKETS], seconds: f64, now: Ktime) {
        if let Value::Histogram { buckets, sum } = &mut self.sample(metric, labels, now).value {
            buckets.iter_mut().zip(counts).for_each(|(bucket, count)| *bucket += count);
            *sum += seconds;
        }
    }

    /// Removes label sets that weren't used since then. `gone` says of a namespace and workload that it was deleted:
    /// those go as soon as they are quiet for a moment.
    pub fn expire(&mut self, quiet: Ktime, idle: Ktime, gone: impl Fn(&str, &str) -> bool) {
        for (family, state) in FAMILIES.iter().zip(&mut self.states) {
            let (Some(namespace), Some(workload)) = (position(family, "namespace"), position(family, "workload"))
            else {
                continue;
            };
            state.samples.retain(|key, sample| {
                let value = |index| key.split(SEPARATOR).nth(index).unwrap_or_default();
                sample.used >= idle
                    && (sample.used >= quiet || value(workload) == OVERFLOW || !gone(value(namespace), value(workload)))
            });
        }
    }

    /// Label sets of one metric, and how much its overflow series took.
    pub fn usage(&self, metric: Metric) -> (usize, u64) {
        let state = &self.states[metric as usize];
        (state.samples.len(), state.overflowed)
    }

    /// A metric's label sets, sorted: an exposition doesn't depend on a map's order.
    pub(super) fn samples(&self, metric: Metric) -> Vec<(Vec<(&'static str, &str)>, &Sample)> {
        let mut samples: Vec<_> = self.states[metric as usize].samples.iter().collect();
        samples.sort_unstable_by_key(|(key, _)| *key);
        let names = || metric.family().labels.iter().map(|label| label.name);
        samples
            .into_iter()
            .map(|(key, sample)| {
                (names().zip(key.split(SEPARATOR)).filter(|(_, value)| !value.is_empty()).collect(), sample)
            })
            .collect()
    }

    fn sample(&mut self, metric: Metric, labels: &[&str], now: Ktime) -> &mut Sample {
        let family = metric.family();
        debug_assert_eq!(family.labels.len(), labels.len(), "{}", family.name);
        let state = &mut self.states[metric as usize];
        write_key(&mut self.key, family, labels, &self.limits, false);
        if state.samples.len() >= self.limits.per_metric && !state.samples.contains_key(self.key.as_str()) {
            state.overflowed += 1;
            write_key(&mut self.key, family, labels, &self.limits, true);
        }
        let fresh = || Sample {
            value: match family.kind {
                Kind::Histogram => Value::Histogram { buckets: [0; BUCKETS], sum: 0.0 },
                Kind::Counter | Kind::Gauge => Value::Number(0.0),
            },
            exemplar: None,
            used: now,
        };
        let index = match state.samples.get_index_of(self.key.as_str()) {
            Some(index) => index,
            None => state.samples.insert_full(self.key.as_str().into(), fresh()).0,
        };
        let sample = &mut state.samples[index];
        sample.used = now;
        sample
    }
}

fn position(family: &Family, name: &str) -> Option<usize> {
    family.labels.iter().position(|label| label.name == name)
}

fn write_key(key: &mut String, family: &Family, labels: &[&str], limits: &Limits, overflow: bool) {
    key.clear();
    for (index, (label, value)) in family.labels.iter().zip(labels).enumerate() {
        if index > 0 {
            key.push(SEPARATOR);
        }
        if label.opt_in.is_some_and(|opt_in| !limits.opt_in.contains(&opt_in)) {
            continue;
        }
        if overflow && !label.bounded {
            key.push_str(OVERFLOW);
        } else {
            key.extend(value.chars().filter(|c| *c != SEPARATOR));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(per_metric: usize) -> Store {
        Store::new(Limits { per_metric, opt_in: Vec::new() })
    }

    fn count(store: &mut Store, cause: &str, workload: &str, now: Ktime) {
        store.add(Metric::Incidents, &[cause, "drop", "shop", workload, "pod-1", "shop", "Deployment/a"], 1.0, now);
    }

    #[test]
    fn beyond_the_limit_one_series_takes_it_all_and_sums_stay_right() {
        let mut store = store(100);
        for index in 0..10_000 {
            let cause = if index % 2 == 0 { "app-error" } else { "no-listener" };
            count(&mut store, cause, &format!("Deployment/w{index}"), 1);
        }
        assert_eq!(store.usage(Metric::Incidents), (102, 9_900));
        let samples = store.samples(Metric::Incidents);
        let sum: f64 = samples
            .iter()
            .filter(|(labels, _)| labels.contains(&("cause", "app-error")))
            .map(|(_, sample)| match sample.value {
                Value::Number(number) => number,
                Value::Histogram { .. } => f64::NAN,
            })
            .sum();
        assert_eq!(sum, 5_000.0);
        assert!(samples.iter().all(|(labels, _)| labels.iter().all(|(name, _)| *name != "pod")), "opt-in");
    }

    #[test]
    fn one_observation_beyond_the_limit_is_one() {
        let mut store = store(1);
        count(&mut store, "app-error", "Deployment/a", 1);
        let labels = ["app-error", "drop", "shop", "Deployment/b", "pod-1", "shop", "Deployment/a"];
        let exemplar = TraceExemplar { trace_id: "0af7651916cd43dd8448eb211c80319c".into(), at_ns: 1 };
        store.add_traced(Metric::Incidents, &labels, 1.0, exemplar, 1);
        assert_eq!(store.usage(Metric::Incidents), (2, 1));
    }

    #[test]
    fn what_is_gone_goes_when_quiet_and_what_is_idle_goes_anyway() {
        let mut store = store(100);
        count(&mut store, "app-error", "Deployment/gone", 10);
        count(&mut store, "app-error", "Deployment/here", 10);
        let gone = |_: &str, workload: &str| workload == "Deployment/gone";
        store.expire(5, 0, gone);
        assert_eq!(store.usage(Metric::Incidents).0, 2);
        store.expire(11, 0, gone);
        assert_eq!(store.usage(Metric::Incidents).0, 1);
        store.expire(11, 11, gone);
        assert_eq!(store.usage(Metric::Incidents).0, 0);
    }
}
