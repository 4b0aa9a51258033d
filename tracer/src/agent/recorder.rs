//! Listens to the pipeline: counts, keeps incidents, says how things stand. Never waits for anyone.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashSet;
use tokio::sync::mpsc;
use tracer_common::event::kind;

use super::config::Config;
use super::count::Counting;
use super::export::Queue;
use super::requests::Requests;
use super::shared::Shared;
use super::status::{Cost, Program};
use crate::correlate::Correlator;
use crate::event::{Event, Ktime, Record};
use crate::pipeline::{Listener, Look};
use crate::sink::line::SnapshotSize;
use crate::sink::otlp::Item;
use crate::sink::prometheus::catalog::FAMILIES;
use crate::sink::prometheus::{Metric, Store};
use crate::sink::{CoverageLine, Ready, Summary, rfc3339};
use crate::verdict::Incident;

/// Between two looks at the kernel's request counts.
const REQUESTS_NS: Ktime = 5_000_000_000;
/// Between two looks for what is to be forgotten.
const EXPIRE_NS: Ktime = 30_000_000_000;
/// The series of a deleted workload go after this without an event: a scrape or two may see the last values.
const QUIET_NS: Ktime = 300_000_000_000;

/// The agent's ear.
pub(super) struct Recorder {
    shared: Arc<Shared>,
    counting: Counting,
    requests: Requests,
    unnamed: Vec<u64>,
    queue: Queue,
    wall_offset_ns: i64,
    idle: Duration,
    max_age: Duration,
    statistics: bool,
    /// Kernel's time of the latest event.
    now: Ktime,
    last_requests: Ktime,
    last_expiry: Ktime,
    incidents: usize,
}

impl Recorder {
    pub(super) fn new(
        shared: Arc<Shared>,
        config: &Config,
        sender: Option<mpsc::Sender<Item>>,
        wall_offset_ns: i64,
    ) -> Self {
        Self {
            counting: Counting::new(shared.metrics.clone()),
            queue: Queue::new(sender, Arc::clone(&shared), config, wall_offset_ns),
            shared,
            requests: Requests::default(),
            unnamed: Vec::new(),
            wall_offset_ns,
            idle: config.metrics.idle.0,
            max_age: config.incidents.max_age.0,
            statistics: config.ebpf_statistics,
            now: 0,
            last_requests: 0,
            last_expiry: 0,
            incidents: 0,
        }
    }

    fn wall(&self, at: Ktime) -> i64 {
        at as i64 + self.wall_offset_ns
    }

    fn expire(&mut self, look: &Look<'_>) {
        let workloads = look.core.workloads();
        let gone = |namespace: &str, workload: &str| is_gone(&workloads, namespace, workload);
        let before = |age: Ktime| look.at.saturating_sub(age);
        let idle = before(u64::try_from(self.idle.as_nanos()).unwrap_or(Ktime::MAX));
        self.shared.metrics.with(|store| store.expire(before(QUIET_NS), idle, gone));
        let oldest = self.wall(look.at).saturating_sub(i64::try_from(self.max_age.as_nanos()).unwrap_or(i64::MAX));
        self.shared.store().expire(&rfc3339(oldest));
        self.queue.expire(before(u64::try_from(self.max_age.as_nanos()).unwrap_or(Ktime::MAX)));
    }

    /// How much of the cluster is known by now.
    fn tell_snapshot(&self, size: &SnapshotSize, at: Ktime) {
        let SnapshotSize { pods, services, network_policies, nodes } = *size;
        let sizes = [("pods", pods), ("services", services), ("network_policies", network_policies), ("nodes", nodes)];
        self.shared.metrics.with(|store| {
            for (kind, count) in sizes {
                store.set(Metric::SnapshotObjects, &[kind], count as f64, at);
            }
        });
        if let Some(observing) = &mut self.shared.status().observing {
            observing.snapshot = size.clone();
        }
    }

    fn tell_programs(&self, look: &Look<'_>, store: &mut Store) -> Vec<Program> {
        let programs = look.kernel.session.programs();
        for program in &programs {
            store.set(Metric::ProgramAttached, &[program.name], f64::from(u8::from(program.attached)), look.at);
            if self.statistics {
                store.set(Metric::ProgramRuns, &[program.name], program.run_count as f64, look.at);
                store.set(Metric::ProgramSeconds, &[program.name], program.run_time.as_secs_f64(), look.at);
            }
        }
        let of = |program: crate::kernel::ProgramStatus| Program {
            name: program.name,
            attached: program.attached,
            runs: self.statistics.then_some(program.run_count),
            seconds: self.statistics.then_some(program.run_time.as_secs_f64()),
        };
        programs.into_iter().map(of).collect()
    }
}

impl Listener for Recorder {
    fn ready(&mut self, ready: &Ready) -> io::Result<()> {
        let mut status = self.shared.status();
        (status.ready, status.reason) = (true, None);
        status.observing = Some(ready.clone());
        drop(status);
        self.shared.metrics.with(|store| {
            store.set(Metric::BuildInfo, &[&ready.version, &ready.kernel], 1.0, 0);
            store.set(Metric::ProcessStart, &[], crate::clock::wall_ns() as f64 / 1e9, 0);
        });
        self.tell_snapshot(&ready.snapshot, 0);
        tracing::info!(hooks = ready.hooks.len(), "observing this node");
        Ok(())
    }

    fn would_print(&self, _: &Event) -> bool {
        false
    }

    fn event(&mut self, record: &Record, core: &Correlator) -> io::Result<()> {
        self.now = self.now.max(record.at);
        self.counting.event(record, core);
        if matches!(record.event, Event::Tick) {
            self.shared.status().last_tick = record.at;
        }
        Ok(())
    }

    fn incident(&mut self, incident: Incident) -> io::Result<()> {
        let (occurrences, forgotten) = self.shared.store().update(incident.clone());
        self.counting.incident(&incident, occurrences, self.now, self.wall(self.now));
        if forgotten > 0 {
            let now = self.now;
            self.shared.metrics.with(|store| store.add(Metric::IncidentsEvicted, &[], forgotten as f64, now));
        }
        self.queue.offer(&incident, self.now);
        self.incidents += 1;
        self.shared.announce();
        Ok(())
    }

    fn second(&mut self, look: &Look<'_>) -> io::Result<()> {
        let at = look.at;
        let metrics = self.shared.metrics.clone();
        if at.saturating_sub(self.last_requests) >= REQUESTS_NS {
            self.last_requests = at;
            let mut counters = look.kernel.tables.counters().map_err(io::Error::other)?;
            self.unnamed = self.requests.put_off(&mut counters, look.core);
            let names = &mut self.counting.names;
            let idle = metrics.with(|store| self.requests.add(counters, store, names, look.core, at));
            look.kernel.tables.forget_counters(&idle).map_err(io::Error::other)?;
        }
        if at.saturating_sub(self.last_expiry) >= EXPIRE_NS {
            self.last_expiry = at;
            self.expire(look);
        }
        self.tell_snapshot(&SnapshotSize::of(look.core.snapshot()), at);
        let lost = look.kernel.tables.lost().map_err(io::Error::other)?;
        let retransmits = look.kernel.tables.stat(tracer_common::stats::Stat::Retransmits).map_err(io::Error::other)?;
        let cost = Cost::now();
        let stored = self.shared.store().len();
        let programs = metrics.with(|store| {
            for (ring, number, count) in lost {
                let ring = if ring == 0 { "failures" } else { "events" };
                store.set(Metric::LostEvents, &[ring, kind::name(number as u16)], count as f64, at);
            }
            tell_losses(store, look.coverage, at);
            for (what, count) in look.core.forgotten().filter(|(_, count)| *count > 0) {
                store.set(Metric::Forgotten, &[what], count as f64, at);
            }
            if retransmits > 0 {
                store.set(Metric::TcpRetransmits, &["data", "", "", ""], retransmits as f64, at);
            }
            store.set(Metric::OpaqueTls, &[], look.coverage.opaque_tls_processes as f64, at);
            store.set(Metric::LastTick, &[], crate::clock::wall_of(at) as f64 / 1e9, at);
            store.set(Metric::IncidentsStored, &[], stored as f64, at);
            tell_cost(store, &cost, at);
            tell_usage(store, at);
            self.tell_programs(look, store)
        });
        let mut status = self.shared.status();
        status.coverage = look.coverage.clone();
        (status.programs, status.cost, status.incidents) = (programs, cost, stored);
        Ok(())
    }

    fn unnamed(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.unnamed)
    }

    fn is_abandoned(&self) -> bool {
        false
    }

    fn end(&mut self, _: Summary, _: &CoverageLine) -> io::Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.shared.announce();
        Ok(())
    }

    fn incidents(&self) -> usize {
        self.incidents
    }
}

/// Whether a workload was deleted. Only what has a pod can lose it, and only where the cluster is known.
fn is_gone(workloads: &FxHashSet<(String, String)>, namespace: &str, workload: &str) -> bool {
    let (kind, _) = workload.split_once('/').unwrap_or_default();
    !workloads.is_empty()
        && !matches!(kind, "" | "Cgroup" | "Process" | "Service")
        && !workloads.contains(&(namespace.to_owned(), workload.to_owned()))
}

/// Losses outside of the rings; those of the rings are told by kind.
fn tell_losses(store: &mut Store, coverage: &CoverageLine, at: Ktime) {
    for (place, count) in &coverage.lost {
        let labels = match place.as_str() {
            "failures" | "events" => continue,
            "flight" => ["flight", "exchange"],
            "decode" => ["agent", "undecodable"],
            place => ["maps", place],
        };
        store.set(Metric::LostEvents, &labels, *count as f64, at);
    }
}

fn tell_cost(store: &mut Store, cost: &Cost, at: Ktime) {
    let Cost { cpu_seconds, resident_bytes, virtual_bytes, open_fds, max_fds } = *cost;
    store.set(Metric::ProcessCpu, &[], cpu_seconds, at);
    store.set(Metric::ProcessMemory, &[], resident_bytes as f64, at);
    store.set(Metric::ProcessVirtual, &[], virtual_bytes as f64, at);
    store.set(Metric::ProcessFds, &[], open_fds as f64, at);
    store.set(Metric::ProcessMaxFds, &[], max_fds as f64, at);
}

/// How many series there are, of metrics that have labels.
fn tell_usage(store: &mut Store, at: Ktime) {
    for family in FAMILIES.iter().filter(|family| family.labels.iter().any(|label| !label.bounded)) {
        let (used, overflowed) = store.usage(family.metric);
        if used > 0 {
            store.set(Metric::Series, &[&family.full_name()], used as f64, at);
        }
        if overflowed > 0 {
            store.set(Metric::SeriesOverflow, &[&family.full_name()], overflowed as f64, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_had_a_pod_is_gone() {
        let known = [("shop".to_owned(), "Deployment/cart".to_owned())].into_iter().collect();
        let gone = |namespace: &str, workload: &str| is_gone(&known, namespace, workload);
        assert!(gone("shop", "Deployment/old") && gone("web", "Deployment/cart"));
        for (namespace, workload) in [
            ("shop", "Deployment/cart"),
            ("shop", "Service/cart"),
            ("", "Cgroup/kubelet.service"),
            ("", "Process/curl"),
            ("", "external"),
            ("", ""),
        ] {
            assert!(!gone(namespace, workload), "{workload}");
        }
        assert!(!is_gone(&FxHashSet::default(), "shop", "Deployment/old"), "nothing is known of the cluster");
    }
}
