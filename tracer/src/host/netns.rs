//! State of a network namespace: what only a member of it can read.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use super::proc::Proc;

/// Local ports for connects (`ip_local_port_range`), and the TCP sockets that hold one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalPorts {
    pub low: u16,
    pub high: u16,
    pub sockets: u32,
    pub time_wait: u32,
}

/// The connection table: its entries, their bound, and entries that lost against another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conntrack {
    pub count: u64,
    pub max: u64,
    pub insert_failed: u64,
}

/// Local ports in the network namespace of a process.
///
/// # Errors
/// Where the process is gone, or its namespace can't be entered (that takes CAP_SYS_ADMIN).
pub fn local_ports(proc: &Proc, pid: u32) -> io::Result<LocalPorts> {
    let range = sysctls(proc, pid, &["net/ipv4/ip_local_port_range"])?.concat();
    let mut numbers = range.split_ascii_whitespace().filter_map(|number| number.parse().ok());
    let (Some(low), Some(high)) = (numbers.next(), numbers.next()) else {
        return Err(io::ErrorKind::InvalidData.into());
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

/// The connection table of a process's network namespace.
///
/// # Errors
/// As [`local_ports`], and where connection tracking isn't loaded.
pub fn conntrack(proc: &Proc, pid: u32) -> io::Result<Conntrack> {
    let names = ["net/netfilter/nf_conntrack_count", "net/netfilter/nf_conntrack_max"];
    let numbers = sysctls(proc, pid, &names)?;
    let number =
        |at: usize| numbers[at].trim().parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error));
    // Absent without CONFIG_NF_CONNTRACK_PROCFS.
    let statistics = proc.read(pid, "net/stat/nf_conntrack").unwrap_or_default();
    Ok(Conntrack { count: number(0)?, max: number(1)?, insert_failed: column(&statistics, "insert_failed") })
}

/// The sum of a column over all CPUs, which have a line of hexadecimal numbers each.
fn column(text: &str, name: &str) -> u64 {
    let mut lines = text.lines();
    let Some(at) = lines.next().and_then(|header| header.split_ascii_whitespace().position(|word| word == name)) else {
        return 0;
    };
    let cell = |line: &str| u64::from_str_radix(line.split_ascii_whitespace().nth(at)?, 16).ok();
    lines.filter_map(cell).sum()
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
    use super::*;

    #[test]
    fn socket_tables() {
        let line = "   0: 0100007F:9C41 0100007F:1F90 06 00000000:00000000 00:00000000 00000000";
        assert_eq!(port_and_state(line), Some((40001, TIME_WAIT)));
        assert_eq!(port_and_state("  sl  local_address rem_address   st tx_queue"), None);
    }

    #[test]
    fn statistics_are_summed_over_cpus() {
        let text = "entries  clashres found insert_failed drop\n0000000a 0 1 0000000f 2\n0000000a 0 1 00000001 0\n";
        assert_eq!(column(text, "insert_failed"), 16);
        assert_eq!(column(text, "absent"), 0);
        assert_eq!(column("", "drop"), 0);
    }
}
