//! Which TCP ports a network namespace listens on.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::proc::Proc;

/// The kernel tells as much at a time.
const PAGE: usize = 4096;

/// A listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    pub port: u16,
    /// Unspecified for all addresses.
    pub address: IpAddr,
    /// Of the socket, as its descriptors are linked to.
    pub inode: u64,
}

/// Listening sockets in the network namespace of a process, sorted.
///
/// # Errors
/// Where the process is gone or can't be looked at.
pub fn of_process(proc: &Proc, pid: u32) -> std::io::Result<Vec<Listener>> {
    let table = |name: &str| parse(BufReader::with_capacity(PAGE, proc.open(pid, name)?));
    let mut found = table("net/tcp")?;
    // Absent where IPv6 is switched off.
    found.extend(table("net/tcp6").unwrap_or_default());
    found.sort_unstable();
    Ok(found)
}

/// Ports that others can connect to, sorted: what listens on a loopback address only is nobody's else.
///
/// # Errors
/// As [`of_process`].
pub fn open_ports(proc: &Proc, pid: u32) -> std::io::Result<Vec<u16>> {
    let mut found = of_process(proc, pid)?;
    found.retain(|listener| !listener.address.to_canonical().is_loopback());
    let mut ports: Vec<u16> = found.into_iter().map(|listener| listener.port).collect();
    ports.dedup();
    Ok(ports)
}

/// Reads `/proc/PID/net/tcp` and `tcp6`, as far as listening sockets go: they come first (`tcp_get_idx` in
/// `net/ipv4/tcp_ipv4.c`), and thousands of others may follow.
/// `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode`; state `0A` is LISTEN.
fn parse(table: impl BufRead) -> std::io::Result<Vec<Listener>> {
    let mut found = Vec::new();
    for line in table.lines().skip(1) {
        let line = line?;
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (Some(local), Some(&"0A"), Some(inode)) = (fields.get(1), fields.get(3), fields.get(9)) else { break };
        let socket = local.split_once(':').and_then(|(address, port)| {
            let port = u16::from_str_radix(port, 16).ok()?;
            Some(Listener { port, address: parse_address(address)?, inode: inode.parse().ok()? })
        });
        found.extend(socket);
    }
    Ok(found)
}

/// Addresses are printed as 32-bit words in host byte order.
fn parse_address(text: &str) -> Option<IpAddr> {
    let words: Vec<[u8; 4]> = text
        .as_bytes()
        .chunks(8)
        .map(|word| Some(u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?.to_ne_bytes()))
        .collect::<Option<_>>()?;
    match words.as_slice() {
        [word] => Some(Ipv4Addr::from(*word).into()),
        [_, _, _, _] => Some(Ipv6Addr::from(<[u8; 16]>::try_from(words.concat()).ok()?).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::HostRoot;

    #[test]
    fn own_listener() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let proc = Proc::new(&HostRoot::default());
        let found = of_process(&proc, std::process::id()).unwrap();
        let address = socket.local_addr().unwrap();
        assert!(found.iter().any(|l| (l.port, l.address) == (address.port(), address.ip()) && l.inode != 0));
    }

    #[test]
    fn what_listens_on_loopback_is_open_to_nobody() {
        let sockets = ["127.0.0.1:0", "[::1]:0", "[::ffff:127.0.0.1]:0", "0.0.0.0:0", "[::]:0"];
        let sockets = sockets.map(|address| std::net::TcpListener::bind(address).unwrap());
        let found = open_ports(&Proc::new(&HostRoot::default()), std::process::id()).unwrap();
        let open = sockets.map(|socket| found.contains(&socket.local_addr().unwrap().port()));
        assert_eq!(open, [false, false, false, true, true]);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn both_families() {
        let line = |local: &str, state: &str| format!("  0: {local} 00000000:0000 {state} 0:0 00:0 0 0 0 4711 1\n");
        let text = [
            "  sl  local_address rem_address   st\n".to_owned(),
            line("0100007F:1F90", "0A"),
            line("00000000000000000000000001000000:0016", "0A"),
            line("0100007F:1F91", "06"),
            "not read".to_owned(),
        ];
        let found = parse(text.concat().as_bytes()).unwrap();
        let inode = 4711;
        let wanted = [
            Listener { port: 8080, address: Ipv4Addr::LOCALHOST.into(), inode },
            Listener { port: 22, address: Ipv6Addr::LOCALHOST.into(), inode },
        ];
        assert_eq!(found, wanted);
    }
}
