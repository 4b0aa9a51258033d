//! Which TCP ports a network namespace listens on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::proc::Proc;

/// A listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    pub port: u16,
    /// Unspecified for all addresses.
    pub address: IpAddr,
}

/// Listening sockets in the network namespace of a process, sorted.
///
/// # Errors
/// Where the process is gone or can't be looked at.
pub fn of_process(proc: &Proc, pid: u32) -> std::io::Result<Vec<Listener>> {
    let mut found = parse(&proc.read(pid, "net/tcp")?);
    // Absent where IPv6 is switched off.
    found.extend(proc.read(pid, "net/tcp6").map(|text| parse(&text)).unwrap_or_default());
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Reads `/proc/PID/net/tcp` and `tcp6`: `0: 0100007F:1F90 00000000:0000 0A …`, state `0A` is LISTEN.
fn parse(text: &str) -> Vec<Listener> {
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace().skip(1);
            let (local, _, state) = (words.next()?, words.next()?, words.next()?);
            if state != "0A" {
                return None;
            }
            let (address, port) = local.split_once(':')?;
            Some(Listener { port: u16::from_str_radix(port, 16).ok()?, address: parse_address(address)? })
        })
        .collect()
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
        assert!(found.contains(&Listener { port: address.port(), address: address.ip() }));
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn both_families() {
        let text = "  sl  local_address rem_address   st\n\
                    0: 0100007F:1F90 00000000:0000 0A 0\n\
                    1: 0100007F:1F91 0100007F:1F90 01 0\n\
                    2: 00000000000000000000000001000000:0016 00000000000000000000000000000000:0000 0A 0\n";
        let found = parse(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0], Listener { port: 8080, address: Ipv4Addr::LOCALHOST.into() });
        assert_eq!(found[1], Listener { port: 22, address: Ipv6Addr::LOCALHOST.into() });
    }
}
