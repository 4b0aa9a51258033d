//! The summary's numbers, from the counters that the programs keep.

use std::collections::BTreeMap;

use tracer_common::conn::role;
use tracer_common::limits::LATENCY_BUCKETS;
use tracer_common::stats::{Counter, CounterKey};

use super::percentile;
use crate::sink::Summary;
use crate::sink::line::WorkloadSummary;
use crate::verdict::Hop;

/// What a cgroup is called.
pub(super) struct CgroupName {
    pub(super) hop: Option<Hop>,
    pub(super) path: Option<String>,
}

/// Requests that were seen, whichever end: those seen at both ends count once. Where some were seen at one end only and
/// others at the other, this is a lower bound.
pub(super) fn requests(counters: &[(CounterKey, Counter)]) -> u64 {
    let of = |wanted: u8| -> u64 {
        let mine = counters.iter().filter(|(key, _)| key.role == wanted);
        mine.map(|(_, counter)| counter.latency.iter().sum::<u64>()).sum()
    };
    of(role::SERVER).max(of(role::CLIENT))
}

/// The kernel's part of the summary.
pub(super) fn summary(counters: &[(CounterKey, Counter)], mut name: impl FnMut(u64) -> CgroupName) -> Summary {
    let mut rows: BTreeMap<(String, &'static str), (WorkloadSummary, [u64; LATENCY_BUCKETS])> = BTreeMap::new();
    for (key, counter) in counters {
        let role = if key.role == role::SERVER { "server" } else { "client" };
        let named = row(name(key.cgroup_id), key.cgroup_id, role);
        let sort = format!("{:?}{:?}{:?}{:?}", named.namespace, named.workload, named.process, named.cgroup);
        let (row, latency) = rows.entry((sort, role)).or_insert_with(|| (named, [0; LATENCY_BUCKETS]));
        add(row, latency, key.status, counter);
    }
    let workloads = rows
        .into_values()
        .map(|(row, latency)| WorkloadSummary { latency_ms: percentile::latency(&latency), ..row })
        .collect();
    Summary { requests: Some(requests(counters)), workloads, ..Summary::default() }
}

fn row(name: CgroupName, id: u64, role: &'static str) -> WorkloadSummary {
    let row = WorkloadSummary { role, ..WorkloadSummary::default() };
    match name.hop {
        Some(Hop { namespace, workload: Some(workload), .. }) => {
            WorkloadSummary { namespace, workload: Some(workload), ..row }
        }
        Some(Hop { namespace, pod: Some(pod), .. }) => {
            WorkloadSummary { namespace, workload: Some(format!("Pod/{pod}")), ..row }
        }
        Some(Hop { process: Some(process), .. }) => WorkloadSummary { process: Some(process), ..row },
        _ => WorkloadSummary { cgroup: Some(name.path.unwrap_or_else(|| format!("cgroup {id}"))), ..row },
    }
}

fn add(row: &mut WorkloadSummary, latency: &mut [u64; LATENCY_BUCKETS], status: u16, counter: &Counter) {
    let Counter { latency_sum_ns: _, latency: buckets } = counter;
    const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
    let class = usize::from(status / 100).checked_sub(1).and_then(|class| CLASSES.get(class)).unwrap_or(&"other");
    let count: u64 = buckets.iter().sum();
    *row.status.entry((*class).to_owned()).or_default() += count;
    row.requests += count;
    if *class == "5xx" {
        row.errors += count;
    }
    latency.iter_mut().zip(buckets).for_each(|(sum, count)| *sum += count);
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;

    fn counted(role: u8, cgroup_id: u64, status: u16, count: u64) -> (CounterKey, Counter) {
        let key = CounterKey { cgroup_id, role, status, ..CounterKey::new_zeroed() };
        let mut counter = Counter::new_zeroed();
        counter.latency[0] = count;
        (key, counter)
    }

    #[test]
    fn both_ends_count_once_and_workloads_add_up() {
        let counters = [
            counted(role::SERVER, 1, 200, 10),
            counted(role::SERVER, 1, 503, 2),
            counted(role::SERVER, 2, 204, 5),
            counted(role::CLIENT, 3, 200, 17),
        ];
        let name = |cgroup| CgroupName {
            hop: (cgroup < 3).then(|| Hop {
                namespace: Some("shop".into()),
                workload: Some("Deployment/cart".into()),
                ..Hop::default()
            }),
            path: Some("/system.slice/curl.service".into()),
        };
        let summary = summary(&counters, name);
        assert_eq!(summary.requests, Some(17));
        let [client, cart] = &summary.workloads[..] else { panic!("{summary:?}") };
        assert_eq!((cart.requests, cart.errors, cart.role), (17, 2, "server"));
        assert_eq!(cart.status, [("2xx".to_owned(), 15), ("5xx".to_owned(), 2)].into());
        assert!(cart.latency_ms.is_some());
        assert_eq!(client.cgroup.as_deref(), Some("/system.slice/curl.service"));
    }
}
