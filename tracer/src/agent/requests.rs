//! Request durations, from what the kernel programs counted.

use std::net::{Ipv6Addr, SocketAddr};

use rustc_hash::{FxHashMap, FxHashSet};
use tracer_common::conn::role;
use tracer_common::limits::{LATENCY_BOUNDS_NS, LATENCY_BUCKETS};
use tracer_common::stats::{Counter, CounterKey};

use super::count::Names;
use crate::correlate::{Correlator, Owner};
use crate::event::{Ktime, Role};
use crate::sink::prometheus::catalog::DURATION_BOUNDS;
use crate::sink::prometheus::{Metric, Store};

/// Looks without a request after which the kernel's count is forgotten: its map has no room for everyone who ever was.
const IDLE_LOOKS: u32 = 60;

/// What was counted at the last look.
#[derive(Debug, Default)]
pub(super) struct Requests {
    known: FxHashMap<CounterKey, (Counter, u32)>,
    /// Cgroups whose names were asked for; each is asked for once, it may be gone.
    asked: FxHashSet<u64>,
}

impl Requests {
    /// Leaves for the next look what belongs to cgroups that the core doesn't know, and gives those: who only ever succeeds
    /// makes no event that would name it.
    pub(super) fn put_off(&mut self, counters: &mut Vec<(CounterKey, Counter)>, core: &Correlator) -> Vec<u64> {
        let present: FxHashSet<u64> = counters.iter().map(|(key, _)| key.cgroup_id).collect();
        self.asked.retain(|id| present.contains(id));
        let is_new = |id: &u64| !self.asked.contains(id) && core.owner_of_cgroup(*id) == Owner::default();
        let unnamed: FxHashSet<u64> = present.into_iter().filter(is_new).collect();
        // What was counted before stays, lest it be counted again.
        counters.retain(|(key, _)| self.known.contains_key(key) || !unnamed.contains(&key.cgroup_id));
        self.asked.extend(&unnamed);
        unnamed.into_iter().collect()
    }

    /// Adds what is new to the metrics. Gives the keys that the kernel should forget.
    pub(super) fn add(
        &mut self,
        counters: Vec<(CounterKey, Counter)>,
        store: &mut Store,
        names: &mut Names,
        core: &Correlator,
        now: Ktime,
    ) -> Vec<CounterKey> {
        let mut idle = Vec::new();
        let mut seen = FxHashMap::default();
        for (key, counter) in counters {
            let before = self.known.get(&key);
            let (counts, seconds) = difference(&counter, before.map(|(counter, _)| counter));
            let mut looks = 0;
            if counts.iter().any(|count| *count > 0) {
                merge(&key, &counts, seconds, store, names, core, now);
            } else {
                looks = before.map_or(0, |(_, looks)| looks + 1);
            }
            if looks >= IDLE_LOOKS {
                idle.push(key);
            } else {
                seen.insert(key, (counter, looks));
            }
        }
        self.known = seen;
        idle
    }
}

type Counts = [u64; DURATION_BOUNDS.len() + 1];

/// What was counted since, in the metrics' buckets, and its sum in seconds.
fn difference(now: &Counter, before: Option<&Counter>) -> (Counts, f64) {
    let zero = Counter { latency_sum_ns: 0, latency: [0; LATENCY_BUCKETS] };
    let before = before.unwrap_or(&zero);
    let mut counts = [0; DURATION_BOUNDS.len() + 1];
    for (index, (now, before)) in now.latency.iter().zip(&before.latency).enumerate() {
        let bound = LATENCY_BOUNDS_NS.get(index).map_or(f64::INFINITY, |bound| *bound as f64 / 1e9);
        // The kernel's boundaries are these and more between them.
        let bucket = DURATION_BOUNDS.partition_point(|ours| *ours < bound);
        counts[bucket] += now.saturating_sub(*before);
    }
    (counts, now.latency_sum_ns.saturating_sub(before.latency_sum_ns) as f64 / 1e9)
}

fn merge(
    key: &CounterKey,
    counts: &Counts,
    seconds: f64,
    store: &mut Store,
    names: &mut Names,
    core: &Correlator,
    now: Ktime,
) {
    let Owner { namespace, workload, pod } = &*names.owner(core, key.cgroup_id, now);
    let (method, status) = (method(key.method), key.status.to_string());
    let role = if key.role == role::SERVER { Role::Server } else { Role::Client };
    let error = role.error_type(key.status).unwrap_or_default();
    if role == Role::Server {
        let labels = [namespace.as_str(), workload, pod, method, &status, &error];
        return store.merge(Metric::ServerDuration, &labels, counts, seconds, now);
    }
    let remote = SocketAddr::new(Ipv6Addr::from(key.peer).to_canonical(), key.port);
    let peer = names.peer(core, remote, now);
    let address = remote.to_string();
    let labels = [namespace.as_str(), workload, pod, &peer.namespace, &peer.name, &address, method, &status, &error];
    store.merge(Metric::ClientDuration, &labels, counts, seconds, now);
}

/// By its first two letters.
fn method(letters: [u8; 2]) -> &'static str {
    match &letters {
        b"GE" => "GET",
        b"PO" => "POST",
        b"PU" => "PUT",
        b"HE" => "HEAD",
        b"DE" => "DELETE",
        b"PA" => "PATCH",
        b"OP" => "OPTIONS",
        b"CO" => "CONNECT",
        b"TR" => "TRACE",
        _ => "_OTHER",
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;
    use crate::correlate::Options;
    use crate::k8s::Snapshot;
    use crate::sink::prometheus::{Format, Limits, Metrics};

    #[test]
    fn buckets_of_the_kernel_are_parts_of_ours() {
        let latency = std::array::from_fn(|index| index as u64 + 1);
        let counter = Counter { latency_sum_ns: 3_000_000_000, latency };
        let (counts, seconds) = difference(&counter, None);
        assert_eq!(counts.iter().sum::<u64>(), latency.iter().sum::<u64>());
        // 100 µs to 5 ms are six of the kernel's.
        assert_eq!(counts[0], 1 + 2 + 3 + 4 + 5 + 6);
        assert_eq!((counts[1], counts[14]), (7, 20));
        assert_eq!(seconds, 3.0);
        let (counts, seconds) = difference(&counter, Some(&counter));
        assert_eq!((counts.iter().sum::<u64>(), seconds), (0, 0.0));
    }

    #[test]
    fn who_has_no_name_is_counted_at_the_next_look() {
        let core = Correlator::new(Options::everything(), Snapshot::empty());
        let mut requests = Requests::default();
        let key = |cgroup_id| CounterKey { cgroup_id, ..CounterKey::new_zeroed() };
        let counted = |ids: &[u64]| ids.iter().map(|id| (key(*id), Counter::new_zeroed())).collect::<Vec<_>>();
        let mut looked = |ids: &[u64]| {
            let mut counters = counted(ids);
            let unnamed = requests.put_off(&mut counters, &core);
            (unnamed, counters.len())
        };
        assert_eq!(looked(&[7]), (vec![7], 0));
        assert_eq!(looked(&[7, 8]), (vec![8], 1));
        assert_eq!(looked(&[7, 8]), (vec![], 2));
        // Whoever comes back is asked for again.
        assert_eq!(looked(&[8]), (vec![], 1));
        assert_eq!(looked(&[7, 8]), (vec![7], 1));
    }

    #[test]
    fn strange_statuses_are_one_kind_of_error() {
        let metrics = Metrics::new(Limits { per_metric: 10, opt_in: Vec::new() });
        let core = Correlator::new(Options::everything(), Snapshot::empty());
        let (mut requests, mut names) = (Requests::default(), Names::default());
        let counters = [(role::SERVER, 404), (role::SERVER, 500), (role::CLIENT, 404), (role::SERVER, 777)]
            .into_iter()
            .chain((600..=999).map(|status| (role::CLIENT, status)))
            .map(|(role, status)| {
                let key = CounterKey { cgroup_id: 7, peer: [0; 16], port: 80, status, method: *b"GE", role, pad: 0 };
                (key, Counter { latency_sum_ns: 1, latency: [1; LATENCY_BUCKETS] })
            });
        metrics.with(|store| requests.add(counters.collect(), store, &mut names, &core, 1));
        let text = metrics.expose(Format::Text);
        let errors = |name: &str| {
            let lines =
                text.lines().filter(|line| line.starts_with(&format!("http_{name}_request_duration_seconds_count")));
            let error = |line: &str| Some(line.split_once("error_type=\"")?.1.split_once('"')?.0.to_owned());
            lines.map(|line| error(line).unwrap_or_default()).collect::<std::collections::BTreeSet<_>>()
        };
        let set = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        assert_eq!(errors("server"), set(&["", "500", "_OTHER"]));
        assert_eq!(errors("client"), set(&["404", "_OTHER"]));
    }
}
