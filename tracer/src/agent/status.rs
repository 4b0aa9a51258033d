//! `/v1/status`: what this agent sees, what it can't, and what it costs.

use serde::Serialize;

use crate::sink::{CoverageLine, Ready};

/// How the agent fares.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Status {
    pub(super) ready: bool,
    /// Why it isn't.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    /// RFC 3339.
    pub(super) started: String,
    #[serde(flatten)]
    pub(super) observing: Option<Ready>,
    pub(super) incidents: usize,
    pub(super) coverage: CoverageLine,
    pub(super) programs: Vec<Program>,
    pub(super) cost: Cost,
    /// When the pipeline last ran, on the monotonic clock.
    #[serde(skip)]
    pub(super) last_tick: u64,
}

impl Status {
    pub(super) fn not_ready(&mut self, reason: &str) {
        (self.ready, self.reason) = (false, Some(reason.to_owned()));
    }
}

/// One eBPF program.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) attached: bool,
    /// Counted with `ebpf_statistics` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) runs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seconds: Option<f64>,
}

/// What this process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Cost {
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: u64,
    pub(super) virtual_bytes: u64,
    pub(super) open_fds: u64,
    pub(super) max_fds: u64,
}

impl Cost {
    /// Of this process, as `/proc/self` and the kernel say; zeros where they don't.
    pub(super) fn now() -> Self {
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: both pointers are valid for one value of their type; zeroes are valid values should a call fail.
        let usage = unsafe {
            libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
            libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
            usage.assume_init()
        };
        let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
        // SAFETY: no arguments that could be wrong.
        let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let mut pages = statm.split(' ').map(|pages| pages.parse::<u64>().unwrap_or(0) * page);
        let (virtual_bytes, resident_bytes) = (pages.next().unwrap_or(0), pages.next().unwrap_or(0));
        // Without the one that reads the directory.
        let open = std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count().saturating_sub(1));
        Self {
            cpu_seconds: seconds(usage.ru_utime) + seconds(usage.ru_stime),
            resident_bytes,
            virtual_bytes,
            open_fds: open as u64,
            max_fds: limit.rlim_cur,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_costs_something() {
        let cost = Cost::now();
        assert!(cost.resident_bytes > 1 << 20 && cost.virtual_bytes >= cost.resident_bytes, "{cost:?}");
        assert!(cost.open_fds >= 3 && cost.max_fds >= cost.open_fds, "{cost:?}");
    }
}
