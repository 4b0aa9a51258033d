//! Reads what the core wants to know about a failing container: resources of its process, lines of its log.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::clock;
use crate::event::{CpuThrottling, HostFact, Ktime, Log, LogEntry, Resources};
use crate::host::proc::Proc;
use crate::host::resources::{self, CgroupFiles, CpuStat};
use crate::host::{HostRoot, logs, unix_sockets};

/// Messages and bytes told of one log.
const ENTRIES: usize = 40;
const BYTES: usize = 16 << 10;
/// Processes whose CPU quota is noted, and how often.
const PROCESSES: usize = 256;
const SAMPLES: usize = 64;
/// Noted for as long as a request is worth explaining.
const KEEP_NS: Ktime = 120_000_000_000;

/// Looks at containers.
pub(super) struct Inspector {
    root: HostRoot,
    files: CgroupFiles,
    /// Readings of a process's quota while it served something slow.
    cpu: FxHashMap<u32, VecDeque<(Ktime, CpuStat)>>,
}

impl Inspector {
    pub(super) fn new(root: &HostRoot) -> Self {
        Self { root: root.clone(), files: CgroupFiles::find(root), cpu: FxHashMap::default() }
    }

    /// Notes how the quota of processes stands that take long over a request.
    pub(super) fn note_slow(&mut self, proc: &Proc, pids: &[u32], now: Ktime) {
        let limit = now.saturating_sub(KEEP_NS);
        self.cpu.retain(|_, samples| samples.back().is_some_and(|(at, _)| *at >= limit));
        for pid in pids {
            if self.cpu.len() < PROCESSES || self.cpu.contains_key(pid) {
                self.sample(proc, *pid, now);
            }
        }
    }

    fn sample(&mut self, proc: &Proc, pid: u32, now: Ktime) -> Option<CpuStat> {
        let stat = self.files.cpu(proc, pid)?;
        let samples = self.cpu.entry(pid).or_default();
        // The first ones count for requests that are open still; in between, fewer will do.
        if samples.len() >= SAMPLES {
            let mut index = 0;
            samples.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
        samples.push_back((now, stat));
        Some(stat)
    }

    /// Everything about a process that failed a request which came at `since`.
    pub(super) fn resources(&mut self, proc: &Proc, cgroup: u64, pid: u32, since: Ktime, now: Ktime) -> HostFact {
        let before =
            self.cpu.get(&pid).and_then(|samples| samples.iter().min_by_key(|(at, _)| at.abs_diff(since)).copied());
        let after = self.sample(proc, pid, now);
        let cpu = before.zip(after).map(|((from_ns, before), after)| CpuThrottling {
            from_ns,
            to_ns: now,
            quota_us: after.quota_us,
            period_us: after.period_us,
            throttled_periods: after.throttled_periods.saturating_sub(before.throttled_periods),
            throttled_us: after.throttled_us.saturating_sub(before.throttled_us),
        });
        let descriptors = resources::descriptors(proc, pid);
        let (runnable, sleeping) = resources::threads(proc, pid);
        HostFact::Resources(Box::new(Resources {
            cgroup,
            tgid: pid,
            descriptors,
            cpu,
            memory: self.files.memory(proc, pid),
            pressure: self.files.pressure(proc, pid),
            volumes: resources::volumes(&self.root, proc, pid),
            unix_sockets: unix_sockets::paths(proc, pid),
            runnable,
            sleeping,
        }))
    }

    /// What a pod's containers logged, by the wall clock as it is set now.
    pub(super) fn log(&self, uid: &str, container: Option<&str>, from: Ktime, until: Ktime) -> Vec<HostFact> {
        let wall_offset_ns = clock::wall_offset_ns();
        let wall = |at: Ktime| (at as i64).saturating_add(wall_offset_ns);
        let found = logs::read(&self.root, uid, container, wall(from)..=wall(until));
        found.into_iter().map(|(container, lines)| told(uid, container, &lines, wall_offset_ns)).collect()
    }
}

/// The last messages that there is room for.
fn told(uid: &str, container: String, lines: &[logs::Line], wall_offset_ns: i64) -> HostFact {
    let mut room = BYTES;
    let found = logs::group(lines);
    let all = found.len() as u64;
    let mut entries: Vec<LogEntry> = found
        .into_iter()
        .rev()
        .take(ENTRIES)
        .map_while(|entry| {
            room = room.checked_sub(entry.text.len())?;
            let at = u64::try_from(entry.at.saturating_sub(wall_offset_ns)).ok()?;
            Some(LogEntry { at, stderr: entry.stderr, text: entry.text })
        })
        .collect();
    entries.reverse();
    let omitted = all - entries.len() as u64;
    HostFact::Log(Log { uid: uid.to_owned(), container, entries, omitted })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine that slept, or whose clock was set, has its logs by the new time.
    #[test]
    fn log_lines_are_looked_for_by_the_clock_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        let logs = root.path().join("var/log/pods/shop_cart_U/web");
        std::fs::create_dir_all(&logs).unwrap();
        let now = clock::monotonic_ns();
        let line = format!("{} stdout F hello\n", crate::sink::rfc3339(clock::wall_ns()));
        std::fs::write(logs.join("0.log"), line).unwrap();
        let around = 1_000_000_000;
        let inspector = Inspector::new(&HostRoot::new(root.path()));
        let found = inspector.log("U", None, now.saturating_sub(around), now + around);
        let [HostFact::Log(log)] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(log.entries.len(), 1);
        assert!(log.entries[0].at.abs_diff(now) < around, "{log:?}");
    }
}
