//! A container's cgroup files, of version 2 or, on hybrid and version 1 nodes, of the controllers' own trees
//! (Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst, scheduler/sched-bwc.rst).

use std::path::{Path, PathBuf};

use crate::event::{Memory, Pressure};
use crate::host::proc::{Proc, v1_path, v2_path};
use crate::host::{HostRoot, cgroups, mounts};

/// `memory.limit_in_bytes` without a limit is near the largest number of pages.
const NO_LIMIT: u64 = 1 << 60;

/// Where the controllers are.
#[derive(Clone, Debug)]
pub struct CgroupFiles {
    unified: Option<PathBuf>,
    cpu: Option<PathBuf>,
    memory: Option<PathBuf>,
}

/// One reading of a cgroup's CPU quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuStat {
    pub quota_us: u64,
    pub period_us: u64,
    pub throttled_periods: u64,
    pub throttled_us: u64,
}

impl CgroupFiles {
    /// Finds the mounts.
    pub fn find(root: &HostRoot) -> Self {
        let (own, host) = mounts::tables(root);
        let v1 = |controller: &str| {
            mounts::cgroup1(root, &own, controller)
                .or_else(|| mounts::cgroup1(root, &host, controller).map(|path| root.path(path)))
        };
        let unified = cgroups::find_mount(root).ok().map(|mount| mount.path);
        Self { unified, cpu: v1("cpu"), memory: v1("memory") }
    }

    /// The quota that throttles a process most: its container's or the pod's, whose directory is above.
    pub fn cpu(&self, proc: &Proc, pid: u32) -> Option<CpuStat> {
        let text = proc.read(pid, "cgroup").ok()?;
        let v1 = self.cpu.as_deref().zip(v1_path(&text, "cpu")).map(|(mount, path)| levels(mount, &path));
        let v2 = self.unified.as_deref().zip(v2_path(&text)).map(|(mount, path)| levels(mount, &path));
        let stats = v1.into_iter().flatten().filter_map(|path| cpu_v1(&path));
        stats.chain(v2.into_iter().flatten().filter_map(|path| cpu_v2(&path))).max_by_key(|stat| stat.throttled_us)
    }

    /// Memory against the limit, where there is one.
    pub fn memory(&self, proc: &Proc, pid: u32) -> Option<Memory> {
        let text = proc.read(pid, "cgroup").ok()?;
        let v2 = self.unified.as_deref().zip(v2_path(&text)).and_then(|(mount, path)| {
            let path = below(mount, &path);
            Some(Memory { used: number(&path.join("memory.current"))?, limit: number(&path.join("memory.max"))? })
        });
        let v1 = || {
            let path = below(self.memory.as_deref()?, &v1_path(&text, "memory")?);
            let used = number(&path.join("memory.usage_in_bytes"))?;
            Some(Memory { used, limit: number(&path.join("memory.limit_in_bytes")).filter(|limit| *limit < NO_LIMIT)? })
        };
        v2.or_else(v1)
    }

    /// Pressure stall information, where the kernel keeps it.
    pub fn pressure(&self, proc: &Proc, pid: u32) -> Vec<Pressure> {
        let path = proc.read(pid, "cgroup").ok().and_then(|text| v2_path(&text)).filter(|path| path != "/");
        let Some(path) = self.unified.as_deref().zip(path).map(|(mount, path)| below(mount, &path)) else {
            return Vec::new();
        };
        let read = |resource: &str| {
            let text = std::fs::read_to_string(path.join(format!("{resource}.pressure"))).ok()?;
            Some(Pressure { resource: resource.to_owned(), some_avg10: some_avg10(&text)? })
        };
        ["cpu", "memory", "io"].into_iter().filter_map(read).collect()
    }
}

fn below(mount: &Path, path: &str) -> PathBuf {
    mount.join(path.trim_start_matches('/'))
}

/// The container's directory and the pod's; the root and what lies under it directly have no pod's quota.
fn levels(mount: &Path, path: &str) -> Vec<PathBuf> {
    let own = below(mount, path);
    let pod = own.parent().filter(|parent| parent.starts_with(mount) && *parent != mount).map(Path::to_path_buf);
    if own == mount { Vec::new() } else { [Some(own), pod].into_iter().flatten().collect() }
}

fn cpu_v2(path: &Path) -> Option<CpuStat> {
    let max = std::fs::read_to_string(path.join("cpu.max")).ok()?;
    let mut words = max.split_ascii_whitespace().map(str::parse::<u64>);
    // `max 100000`: no quota.
    let (quota_us, period_us) = (words.next()?.ok()?, words.next()?.ok()?);
    let stat = std::fs::read_to_string(path.join("cpu.stat")).ok()?;
    let (throttled_periods, throttled_us) = (field(&stat, "nr_throttled")?, field(&stat, "throttled_usec")?);
    Some(CpuStat { quota_us, period_us, throttled_periods, throttled_us })
}

fn cpu_v1(path: &Path) -> Option<CpuStat> {
    // -1: no quota.
    let quota_us = number(&path.join("cpu.cfs_quota_us"))?;
    let period_us = number(&path.join("cpu.cfs_period_us"))?;
    let stat = std::fs::read_to_string(path.join("cpu.stat")).ok()?;
    let (throttled_periods, throttled_ns) = (field(&stat, "nr_throttled")?, field(&stat, "throttled_time")?);
    Some(CpuStat { quota_us, period_us, throttled_periods, throttled_us: throttled_ns / 1000 })
}

fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?.trim().parse().ok()
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`
fn some_avg10(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    line.split(' ').find_map(|word| word.strip_prefix("avg10="))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `/proc` with one process, and a cgroup tree with its files.
    fn node(cgroup: &str, files: &[(&str, &str)]) -> (tempfile::TempDir, Proc) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [("proc/7/cgroup", cgroup)].iter().chain(files) {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let proc = Proc::new(&HostRoot::new(root.path()));
        (root, proc)
    }

    #[test]
    fn version_2_with_the_pods_quota() {
        let (root, proc) = node(
            "0::/pod/c\n",
            &[
                ("v2/pod/c/cpu.max", "max 100000\n"),
                ("v2/pod/cpu.max", "20000 100000\n"),
                ("v2/pod/cpu.stat", "usage_usec 5\nnr_periods 9\nnr_throttled 4\nthrottled_usec 320000\n"),
                ("v2/pod/c/memory.current", "900\n"),
                ("v2/pod/c/memory.max", "1000\n"),
                ("v2/pod/c/io.pressure", "some avg10=12.50 avg60=1.00 avg300=0.00 total=5\nfull avg10=1.00 total=1\n"),
            ],
        );
        let files = CgroupFiles { unified: Some(root.path().join("v2")), cpu: None, memory: None };
        let stat = CpuStat { quota_us: 20_000, period_us: 100_000, throttled_periods: 4, throttled_us: 320_000 };
        assert_eq!(files.cpu(&proc, 7), Some(stat));
        assert_eq!(files.memory(&proc, 7), Some(Memory { used: 900, limit: 1000 }));
        assert_eq!(files.pressure(&proc, 7), [Pressure { resource: "io".to_owned(), some_avg10: 12.5 }]);
        assert_eq!(files.cpu(&proc, 8), None);
    }

    #[test]
    fn version_1() {
        let (root, proc) = node(
            "3:memory:/pod/c\n2:cpu,cpuacct:/pod/c\n0::/\n",
            &[
                ("cpu/pod/c/cpu.cfs_quota_us", "10000\n"),
                ("cpu/pod/c/cpu.cfs_period_us", "100000\n"),
                ("cpu/pod/c/cpu.stat", "nr_periods 9\nnr_throttled 4\nthrottled_time 320000000\n"),
                ("cpu/pod/cpu.cfs_quota_us", "-1\n"),
                ("memory/pod/c/memory.usage_in_bytes", "900\n"),
                ("memory/pod/c/memory.limit_in_bytes", "9223372036854771712\n"),
            ],
        );
        let v1 = |name: &str| Some(root.path().join(name));
        let files = CgroupFiles { unified: v1("v2"), cpu: v1("cpu"), memory: v1("memory") };
        let stat = CpuStat { quota_us: 10_000, period_us: 100_000, throttled_periods: 4, throttled_us: 320_000 };
        assert_eq!(files.cpu(&proc, 7), Some(stat));
        assert_eq!(files.memory(&proc, 7), None, "no limit");
    }
}
