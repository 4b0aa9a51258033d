//! State of a network namespace: what only a member of it can read.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use super::proc::Proc;
use crate::event::{Conntrack, LocalPorts};

/// Local ports in the network namespace of a process. Where that can't be entered, which takes CAP_SYS_ADMIN, the range is
/// all ports: only a member can read it.
///
/// # Errors
/// Where the process is gone.
pub fn local_ports(proc: &Proc, pid: u32) -> io::Result<LocalPorts> {
    let (low, high) = match sysctls(proc, pid, &["net/ipv4/ip_local_port_range"]) {
        Ok(range) => {
            let range = range.concat();
            let mut numbers = range.split_ascii_whitespace().filter_map(|number| number.parse().ok());
            numbers.next().zip(numbers.next()).ok_or(io::ErrorKind::InvalidData)?
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => (1, u16::MAX),
        Err(error) => return Err(error),
    };
    let tables = ["net/tcp", "net/tcp6"].map(|table| proc.read(pid, table).unwrap_or_default());
    let (mut sockets, mut time_wait) = (0, 0);
    for (port, state) in tables.iter().flat_map(|table| table.lines()).filter_map(port_and_state) {
        if (low..=high).contains(&port) {
            sockets += 1;
            time_wait += u32::from(state == TIME_WAIT);
        }
    }
    Ok(LocalPorts { low, high, sockets, time_wait })
}

/// `TCP_TIME_WAIT` (include/net/tcp_states.h).
const TIME_WAIT: &str = "06";

/// Of `0: 0100007F:1F90 00000000:0000 0A …`.
fn port_and_state(line: &str) -> Option<(u16, &str)> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (local, _, state) = (words.next()?, words.next()?, words.next()?);
    Some((u16::from_str_radix(local.split_once(':')?.1, 16).ok()?, state))
}

/// The connection table of a process's network namespace; empty and without a bound where connection tracking isn't loaded.
///
/// A namespace that can't be entered, which takes CAP_SYS_ADMIN, shows its entries in `/proc/PID/net/stat/nf_conntrack`
/// (`ct_cpu_seq_show`, net/netfilter/nf_conntrack_standalone.c), and the bound is the machine's: `nf_conntrack_max` is one
/// for all namespaces and can be read in each.
///
/// # Errors
/// Where the process is gone, or its namespace can't be entered and the kernel has no CONFIG_NF_CONNTRACK_PROCFS.
pub fn conntrack(proc: &Proc, pid: u32) -> io::Result<Conntrack> {
    let number = |text: &str| text.trim().parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error));
    let max = match std::fs::read_to_string(proc.file("sys").join(CONNTRACK_MAX)) {
        Ok(max) => number(&max)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Conntrack { count: 0, max: 0, insert_failed: 0 });
        }
        Err(error) => return Err(error),
    };
    let statistics = proc.read(pid, "net/stat/nf_conntrack");
    // Each CPU's line has the number of all entries.
    let count = match (sysctls(proc, pid, &["net/netfilter/nf_conntrack_count"]), &statistics) {
        (Ok(count), _) => number(&count.concat())?,
        (Err(_), Ok(text)) => cells(text, "entries").next().ok_or(io::ErrorKind::InvalidData)?,
        (Err(error), Err(_)) => return Err(error),
    };
    let insert_failed = cells(&statistics.unwrap_or_default(), "insert_failed").sum();
    Ok(Conntrack { count, max, insert_failed })
}

const CONNTRACK_MAX: &str = "net/netfilter/nf_conntrack_max";

/// A column of a table in which each CPU has a line of hexadecimal numbers.
fn cells<'a>(text: &'a str, name: &str) -> impl Iterator<Item = u64> + 'a {
    let mut lines = text.lines();
    let at = lines.next().and_then(|header| header.split_ascii_whitespace().position(|word| word == name));
    lines.filter_map(move |line| u64::from_str_radix(line.split_ascii_whitespace().nth(at?)?, 16).ok())
}

/// Reads files below `/proc/sys` as a member of the process's network namespace sees them: `proc(5)` gives them by the
/// reader's own, so a thread enters it and ends.
fn sysctls(proc: &Proc, pid: u32, names: &[&str]) -> io::Result<Vec<String>> {
    let namespace = File::open(proc.path(pid).join("ns/net"))?;
    let read = || {
        // SAFETY: an open descriptor; only this thread, which ends here, changes its namespace.
        if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
            return Err(io::Error::last_os_error());
        }
        names.iter().map(|name| std::fs::read_to_string(proc.file("sys").join(name))).collect()
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, read)?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
    })
}

#[cfg(test)]
mod tests {
    use super::super::HostRoot;
    use super::*;

    #[test]
    fn socket_tables() {
        let line = "   0: 0100007F:9C41 0100007F:1F90 06 00000000:00000000 00:00000000 00000000";
        assert_eq!(port_and_state(line), Some((40001, TIME_WAIT)));
        assert_eq!(port_and_state("  sl  local_address rem_address   st tx_queue"), None);
    }

    #[test]
    fn statistics_have_a_line_for_each_cpu() {
        let text = "entries  clashres found insert_failed drop\n0000000a 0 1 0000000f 2\n0000000a 0 1 00000001 0\n";
        assert_eq!(cells(text, "insert_failed").sum::<u64>(), 16);
        assert_eq!(cells(text, "entries").next(), Some(10));
        assert_eq!(cells(text, "absent").next(), None);
        assert_eq!(cells("", "drop").next(), None);
    }

    /// As in the DaemonSet, whose container can't enter other namespaces.
    #[test]
    fn tables_are_read_without_privileges() {
        let proc = Proc::new(&HostRoot::default());
        let pid = std::process::id();
        let Ok(table) = conntrack(&proc, pid) else { return };
        std::thread::scope(|scope| {
            let read = || {
                caps::clear(None, caps::CapSet::Effective).unwrap();
                let refused = sysctls(&proc, pid, &["net/ipv4/ip_local_port_range"]).unwrap_err();
                assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
                (conntrack(&proc, pid).unwrap(), local_ports(&proc, pid).unwrap())
            };
            let (without, ports) = scope.spawn(read).join().unwrap();
            assert_eq!((without.max, ports.low, ports.high), (table.max, 1, u16::MAX));
        });
    }
}
