//! How many SYNs a network namespace's full listen queues cost so far.

use super::proc::Proc;

/// Counters of `/proc/PID/net/netstat` (`net/ipv4/proc.c`), since the namespace was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenCounts {
    /// The accept queue was full.
    pub overflows: u64,
    /// Any reason; those above included.
    pub drops: u64,
}

/// The counters of a process's network namespace.
///
/// # Errors
/// Where the process is gone or can't be looked at.
pub fn listen_counts(proc: &Proc, pid: u32) -> std::io::Result<ListenCounts> {
    let text = proc.read(pid, "net/netstat")?;
    let value = |name| counter(&text, "TcpExt:", name).unwrap_or(0);
    Ok(ListenCounts { overflows: value("ListenOverflows"), drops: value("ListenDrops") })
}

/// Each group is two lines with the same prefix: names, then values in the same order.
fn counter(text: &str, group: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(group)).map(str::split_ascii_whitespace);
    let (mut names, mut values) = (lines.next()?, lines.next()?);
    values.nth(names.position(|found| found == name)?)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::HostRoot;

    #[test]
    fn by_name_not_by_place() {
        let text = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 0 3 4\nIpExt: InNoRoutes\nIpExt: 9\n";
        assert_eq!(counter(text, "TcpExt:", "ListenDrops"), Some(4));
        assert_eq!(counter(text, "IpExt:", "InNoRoutes"), Some(9));
        assert_eq!(counter(text, "TcpExt:", "InNoRoutes"), None);
        assert_eq!(counter("TcpExt: A\n", "TcpExt:", "A"), None);
    }

    #[test]
    fn the_own_namespace_has_them() {
        let proc = Proc::new(&HostRoot::default());
        let text = proc.read(std::process::id(), "net/netstat").unwrap();
        assert!(counter(&text, "TcpExt:", "ListenOverflows").is_some());
        assert!(listen_counts(&proc, std::process::id()).is_ok());
    }
}
