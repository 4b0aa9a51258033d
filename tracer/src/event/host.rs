//! What is read of the node: on request of the core, at the moment of a failure.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::Ktime;

/// A fact read from the node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "kebab-case")]
pub enum HostFact {
    /// A pod directory under `/var/log/pods`.
    PodLogs { uid: String, namespace: String, name: String },
    /// A process: what it is called and where it lives.
    Process { tgid: u32, comm: String, exe: Option<String>, cgroup: Option<String>, netns: u32 },
    /// The TCP ports that a network namespace listens on, for others than itself.
    Listeners { netns: u32, ports: Vec<u16> },
    /// SYNs that full listen queues of a network namespace cost since it was made (`ListenOverflows`, `ListenDrops`).
    ListenCounts { netns: u32, overflows: u64, drops: u64 },
    LocalPorts {
        netns: u32,
        #[serde(flatten)]
        ports: LocalPorts,
    },
    Conntrack {
        netns: u32,
        #[serde(flatten)]
        table: Conntrack,
    },
    /// What a process and its container have of the node's resources.
    Resources(Box<Resources>),
    /// Lines of a container's log.
    Log(Log),
    /// The rule that drops packets of a flow.
    Rule(Rule),
    /// Which rule drops them isn't certain.
    NoRule(Flow),
}

/// A network namespace's local ports for connects (`ip_local_port_range`), and the TCP sockets that hold one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalPorts {
    pub low: u16,
    pub high: u16,
    pub sockets: u32,
    pub time_wait: u32,
}

/// A network namespace's connection table: its entries, their bound (0 where connection tracking isn't loaded), and
/// entries that lost against another one since the table exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conntrack {
    pub count: u64,
    pub max: u64,
    pub insert_failed: u64,
}

/// Packets that netfilter dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    pub netns: u32,
    /// `PREROUTING` … `POSTROUTING`.
    pub hook: String,
    /// `IPPROTO_*`.
    pub protocol: u8,
    pub source: SocketAddr,
    pub destination: SocketAddr,
}

/// A rule of nftables, or a chain's policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    pub flow: Flow,
    pub family: String,
    pub table: String,
    pub chain: String,
    /// Absent for a policy.
    pub handle: Option<u64>,
    /// As `nft` or, for its own rules, `iptables-save` prints it.
    pub text: Option<String>,
    pub comment: Option<String>,
}

/// What a process and its container have of the node's resources. What couldn't be read is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// The container, as the events name it.
    pub cgroup: u64,
    pub tgid: u32,
    pub descriptors: Option<Descriptors>,
    pub cpu: Option<CpuThrottling>,
    pub memory: Option<Memory>,
    pub pressure: Vec<Pressure>,
    pub volumes: Vec<Volume>,
    /// Some of the paths of stream sockets in its network namespace.
    pub unix_sockets: Vec<String>,
    /// Threads of the process that ran or waited for a CPU.
    pub runnable: Vec<u32>,
    /// Threads of the process that waited for something else.
    pub sleeping: Vec<u32>,
}

/// Open descriptors of a process, and `RLIMIT_NOFILE`'s soft limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptors {
    pub open: u64,
    pub limit: u64,
}

/// How a cgroup's CPU quota acted between two readings of its `cpu.stat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuThrottling {
    pub from_ns: Ktime,
    pub to_ns: Ktime,
    pub quota_us: u64,
    pub period_us: u64,
    pub throttled_periods: u64,
    /// Summed over CPUs.
    pub throttled_us: u64,
}

/// A cgroup's memory in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    pub used: u64,
    pub limit: u64,
}

/// Pressure stall information of a cgroup: share of the last 10 s in which some task waited, per cent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pressure {
    /// `cpu`, `memory` or `io`.
    pub resource: String,
    pub some_avg10: f64,
}

/// A file system that a process can write to, local ones only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Where the process has it mounted.
    pub path: String,
    /// Type of the file system.
    pub kind: String,
    /// Bytes, and those left for the unprivileged.
    pub size: u64,
    pub available: u64,
    /// Files that can exist, 0 where the file system has no such number; and that can still be made.
    pub files: u64,
    pub files_available: u64,
    /// Mounted for writing, and the file system refuses writes by itself since an error: `ro`, `emergency_ro`, `shutdown`.
    pub refusing: Option<String>,
    /// Seconds since the Unix epoch at which the file system last recorded an error of its own.
    pub error_at_s: Option<u64>,
}

/// What a container logged within an interval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// The pod's.
    pub uid: String,
    pub container: String,
    pub entries: Vec<LogEntry>,
    /// Entries left out because there were too many.
    pub omitted: u64,
}

/// One logged message, a stack trace with all its lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    pub at: Ktime,
    pub stderr: bool,
    pub text: String,
}
