//! Processes: who they are, which cgroup and which network namespace they live in.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustc_hash::FxHashMap;

use super::HostRoot;

/// The first process of a PID namespace.
const INIT: u32 = 1;
/// `PROC_PID_INIT_INO` (`include/linux/proc_ns.h`): the same on every kernel.
const INITIAL_PID_NAMESPACE: u32 = 0xEFFF_FFFC;

/// What `/proc/PID` says about a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    pub comm: String,
    /// File name of the executable; absent for kernel threads and without CAP_SYS_PTRACE.
    pub exe: Option<String>,
    /// Path in the cgroup v2 tree.
    pub cgroup: Option<String>,
    /// Path in the version 1 memory tree, on hybrid and version 1 nodes.
    pub memory_cgroup: Option<String>,
    /// Inode of the network namespace, 0 if it can't be read.
    pub netns: u32,
    /// Process id in its own PID namespace, where that differs: it lives in a container.
    pub inner_pid: Option<u32>,
}

impl Process {
    /// The cgroup that tells its container: version 2 where it isn't the root, else version 1.
    pub fn container_cgroup(&self) -> Option<&str> {
        self.cgroup.as_deref().filter(|path| *path != "/").or(self.memory_cgroup.as_deref())
    }
}

/// Reads processes of the host.
#[derive(Clone, Debug)]
pub struct Proc {
    path: PathBuf,
}

impl Proc {
    /// The host's `/proc`.
    pub fn new(root: &HostRoot) -> Self {
        Self { path: root.path("/proc") }
    }

    /// One process; `None` if it is gone.
    pub fn process(&self, pid: u32) -> Option<Process> {
        let directory = self.path.join(pid.to_string());
        let comm = std::fs::read_to_string(directory.join("comm")).ok()?.trim_end().to_owned();
        let cgroups = std::fs::read_to_string(directory.join("cgroup")).unwrap_or_default();
        let status = std::fs::read_to_string(directory.join("status")).unwrap_or_default();
        Some(Process {
            pid,
            comm,
            exe: executable(&directory),
            cgroup: v2_path(&cgroups),
            memory_cgroup: v1_path(&cgroups, "memory"),
            netns: self.netns(pid).unwrap_or(0),
            inner_pid: inner_pid(&status),
        })
    }

    /// Every process.
    pub fn processes(&self) -> Vec<Process> {
        self.pids().filter_map(|pid| self.process(pid)).collect()
    }

    /// Every process id.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        std::fs::read_dir(&self.path)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
    }

    /// Processes by the inode of their network namespace. Much cheaper than [`Self::processes`].
    pub fn by_netns(&self) -> FxHashMap<u32, Vec<u32>> {
        let mut found: FxHashMap<u32, Vec<u32>> = FxHashMap::default();
        for pid in self.pids() {
            if let Some(netns) = self.netns(pid) {
                found.entry(netns).or_default().push(pid);
            }
        }
        found
    }

    /// Inode of a process's network namespace. Needs CAP_SYS_PTRACE for processes of other users.
    pub fn netns(&self, pid: u32) -> Option<u32> {
        self.namespace(pid, "net")
    }

    /// Inode of the node's own network namespace.
    pub fn node_netns(&self) -> Option<u32> {
        self.netns(INIT)
    }

    /// Inode of the PID namespace by which this `/proc` numbers processes, where it isn't the initial one: the node is a
    /// container itself.
    pub fn nested_pid_namespace(&self) -> Option<u32> {
        self.namespace(INIT, "pid").filter(|inode| *inode != INITIAL_PID_NAMESPACE)
    }

    fn namespace(&self, pid: u32, kind: &str) -> Option<u32> {
        let path = self.path(pid).join("ns").join(kind);
        u32::try_from(std::fs::metadata(path).ok()?.ino()).ok()
    }

    /// This process's id as the host's `/proc` numbers it, which is how the kernel programs see it.
    pub fn own_pid(&self) -> Option<u32> {
        std::fs::read_link(self.path.join("self")).ok()?.to_str()?.parse().ok()
    }

    /// A file of the system, such as `sys/net/ipv4/ip_local_port_range`.
    pub fn file(&self, file: &str) -> PathBuf {
        self.path.join(file)
    }

    /// A process's directory.
    pub fn path(&self, pid: u32) -> PathBuf {
        self.path.join(pid.to_string())
    }

    /// A file of a process, such as `net/tcp`.
    ///
    /// # Errors
    /// Where the process is gone or can't be looked at.
    pub fn open(&self, pid: u32, file: &str) -> std::io::Result<File> {
        File::open(self.path(pid).join(file))
    }

    /// A file of a process as text.
    ///
    /// # Errors
    /// Where the process is gone or can't be looked at.
    pub fn read(&self, pid: u32, file: &str) -> std::io::Result<String> {
        std::fs::read_to_string(self.path(pid).join(file))
    }
}

fn executable(directory: &Path) -> Option<String> {
    let target = std::fs::read_link(directory.join("exe")).ok()?;
    let name = target.file_name().and_then(OsStr::to_str)?;
    Some(name.trim_end_matches(" (deleted)").to_owned())
}

/// The `0::/path` line of `/proc/PID/cgroup`.
pub(super) fn v2_path(text: &str) -> Option<String> {
    text.lines().find_map(|line| line.strip_prefix("0::")).map(clean)
}

/// The path of a version 1 controller: `4:memory:/path`, `3:cpu,cpuacct:/path`.
pub(super) fn v1_path(text: &str, controller: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        controllers.split(',').any(|name| name == controller).then(|| clean(path))
    })
}

fn clean(path: &str) -> String {
    path.trim_end_matches(" (deleted)").to_owned()
}

/// The last number of `NSpid:` where there are several.
fn inner_pid(status: &str) -> Option<u32> {
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    numbers.split_ascii_whitespace().skip(1).last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup_lines() {
        let hybrid = "9:pids:/a\n4:cpu,cpuacct:/b\n3:memory:/kubepods/burstable/podU/c (deleted)\n0::/system.slice\n";
        assert_eq!(v2_path(hybrid).unwrap(), "/system.slice");
        assert_eq!(v1_path(hybrid, "memory").unwrap(), "/kubepods/burstable/podU/c");
        assert_eq!(v1_path(hybrid, "cpuacct").unwrap(), "/b");
        assert_eq!(v1_path("0::/\n", "memory"), None);
    }

    #[test]
    fn namespaced_pids() {
        assert_eq!(inner_pid("Name:\tx\nNSpid:\t4711\t7\n"), Some(7));
        assert_eq!(inner_pid("NSpid:\t4711\n"), None);
        assert_eq!(inner_pid(""), None);
    }

    #[test]
    fn own_process() {
        let proc = Proc::new(&HostRoot::default());
        let own = proc.process(proc.own_pid().unwrap()).unwrap();
        assert_eq!(own.netns, proc.netns(own.pid).unwrap());
        assert!(own.exe.is_some() && own.cgroup.is_some());
        assert!(proc.by_netns()[&own.netns].contains(&own.pid));
        assert_eq!(proc.process(u32::MAX), None);
    }

    #[test]
    fn the_version_1_path_counts_where_version_2_says_nothing() {
        let process =
            Process { cgroup: Some("/".into()), memory_cgroup: Some("/kubepods/x".into()), ..Process::default() };
        assert_eq!(process.container_cgroup(), Some("/kubepods/x"));
    }
}
