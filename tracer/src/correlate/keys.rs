//! Which hop keys an incident's occurrences had: a sample that several nodes take alike, so that what they saw of the same
//! requests can be joined however many there were.
//!
//! Of each period the keys with the smallest hashes are kept. Where one node saw all the requests that another one saw, and
//! others, the samples have keys in common as often as the requests are a part of all; and a node that began later differs
//! in the periods before only.

use crate::fnv::fnv1a;
use crate::verdict::Hop;

const PERIOD_NS: i64 = 600_000_000_000;
/// Keys of a period.
const KEYS: usize = 8;

/// The sample of one hop: of this period and of the one before in which the incident occurred.
#[derive(Clone, Debug, Default)]
struct Sample {
    period: i64,
    current: Vec<(u64, String)>,
    before: Vec<(u64, String)>,
}

impl Sample {
    fn add(&mut self, key: &str, period: i64) {
        if period > self.period {
            self.before = std::mem::take(&mut self.current);
            self.period = period;
        }
        let entry = (fnv1a(key.bytes()), key.to_owned());
        if let Err(at) = self.current.binary_search(&entry)
            && at < KEYS
        {
            self.current.insert(at, entry);
            self.current.truncate(KEYS);
        }
    }

    /// All but the one that the hop has already.
    fn others(&self, hop: &Hop) -> Vec<String> {
        let all = self.before.iter().chain(&self.current).map(|(_, key)| key);
        all.filter(|key| hop.key.as_ref() != Some(key)).cloned().collect()
    }
}

/// The samples of a path's hops.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys(Vec<Sample>);

impl Keys {
    /// Adds an occurrence (at that wall-clock time) to the sample, and what there is by now to the path that is told.
    pub(super) fn add(&mut self, occurrence: &[Hop], wall_ns: i64, told: &mut [Hop]) {
        self.0.resize_with(told.len(), Sample::default);
        for ((sample, hop), told) in self.0.iter_mut().zip(occurrence).zip(told) {
            if let Some(key) = &hop.key {
                sample.add(key, wall_ns / PERIOD_NS);
                told.keys = sample.others(told);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(number: u32) -> Hop {
        Hop { key: Some(format!("10.1.0.{}:{}#{number:08x}", number % 200, 1024 + number % 60_000)), ..Hop::default() }
    }

    /// What is told after occurrences of these numbers.
    fn told(numbers: impl IntoIterator<Item = u32>, period: i64) -> Vec<String> {
        let (mut keys, mut path) = (Keys::default(), vec![]);
        for number in numbers {
            if path.is_empty() {
                path.push(hop(number));
            }
            keys.add(&[hop(number)], period * PERIOD_NS, &mut path);
        }
        path.remove(0).keys
    }

    #[test]
    fn nodes_that_saw_the_same_requests_or_a_part_of_them_have_keys_in_common() {
        let all = told(0..100_000, 1);
        assert_eq!(all.len(), KEYS);
        let common = |part: Vec<String>| part.iter().filter(|key| all.contains(key)).count();
        assert_eq!(common(told((0..100_000).rev(), 1)), KEYS);
        assert!(common(told((0..100_000).filter(|number| number % 2 == 0), 1)) > 0);
        assert_eq!(common(told(200_000..300_000, 1)), 0);
    }

    #[test]
    fn the_period_before_is_kept_and_those_before_it_are_not() {
        let (mut keys, mut path) = (Keys::default(), vec![hop(0)]);
        for number in 1..1000_u32 {
            keys.add(&[hop(number)], i64::from(number / 100) * PERIOD_NS, &mut path);
        }
        let last = told(900..1000, 9);
        assert_eq!(path[0].keys.len(), 2 * KEYS);
        assert!(last.iter().all(|key| path[0].keys.contains(key)));
        keys.add(&[Hop::default()], 20 * PERIOD_NS, &mut path);
        assert_eq!(path[0].keys.len(), 2 * KEYS, "an occurrence without a key");
    }
}
