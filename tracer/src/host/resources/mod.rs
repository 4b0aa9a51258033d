//! What a process and its container have of the node: descriptors, CPU quota, memory, pressure, volumes. Read on request,
//! bounded, and without waiting for a file system that doesn't answer.

use crate::event::Descriptors;

use super::listeners;
use super::proc::Proc;

mod cgroup_files;
mod volumes;

pub use cgroup_files::{CgroupFiles, CpuStat};
pub use volumes::volumes;

/// Descriptors counted; no sane limit is higher.
const DESCRIPTORS: usize = 1 << 20;
/// Processes of a network namespace looked at: the node's own has more than is worth it.
const PROCESSES: usize = 128;
/// Threads looked at.
const THREADS: usize = 256;

/// Open descriptors of a process against its limit.
pub fn descriptors(proc: &Proc, pid: u32) -> Option<Descriptors> {
    let limit = parse_limit(&proc.read(pid, "limits").ok()?)?;
    let open = std::fs::read_dir(proc.path(pid).join("fd")).ok()?.take(DESCRIPTORS).count() as u64;
    Some(Descriptors { open, limit })
}

/// `Max open files            1024                 4096                 files`; no number where there is no limit.
fn parse_limit(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// The process that owns the listening socket of a port, of those given.
pub fn listener(proc: &Proc, pids: &[u32], port: u16) -> Option<u32> {
    let listeners = listeners::of_process(proc, *pids.first()?).ok()?;
    let of_port = listeners.iter().filter(|listener| listener.port == port);
    let wanted: Vec<String> = of_port.map(|listener| format!("socket:[{}]", listener.inode)).collect();
    pids.iter().copied().take(PROCESSES).find(|pid| {
        let descriptors = std::fs::read_dir(proc.path(*pid).join("fd")).into_iter().flatten().flatten();
        let mut targets = descriptors.take(DESCRIPTORS).filter_map(|entry| std::fs::read_link(entry.path()).ok());
        targets.any(|target| target.to_str().is_some_and(|target| wanted.iter().any(|wanted| wanted == target)))
    })
}

/// Threads that run or wait for a CPU (`R`), and those that wait for something else.
pub fn threads(proc: &Proc, pid: u32) -> (Vec<u32>, Vec<u32>) {
    let entries = std::fs::read_dir(proc.path(pid).join("task")).into_iter().flatten().flatten();
    let tids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).take(THREADS);
    let states = tids.filter_map(|tid| {
        let stat = proc.read(pid, &format!("task/{tid}/stat")).ok()?;
        // proc(5): the state follows the name, which is in parentheses and may hold any.
        let state = stat.rsplit_once(") ")?.1.chars().next()?;
        Some((tid, state == 'R'))
    });
    let (runnable, sleeping): (Vec<_>, Vec<_>) = states.partition(|(_, runs)| *runs);
    let tids = |threads: Vec<(u32, bool)>| threads.into_iter().map(|(tid, _)| tid).collect();
    (tids(runnable), tids(sleeping))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::HostRoot;

    #[test]
    fn own_process() {
        let proc = Proc::new(&HostRoot::default());
        let pid = proc.own_pid().unwrap();
        let before = descriptors(&proc, pid).unwrap();
        assert!(before.open > 2 && before.open <= before.limit);
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        assert_eq!(listener(&proc, &[pid], port), Some(pid));
        assert_eq!(listener(&proc, &[pid], 1), None);
        assert!(!threads(&proc, pid).0.is_empty(), "this thread runs");
    }

    #[test]
    fn limits() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max open files            1024                 524288               files     \n";
        assert_eq!(parse_limit(text), Some(1024));
        assert_eq!(parse_limit("Max open files            unlimited            unlimited            files\n"), None);
    }
}
