//! Stream sockets with a path, by which a web server may hand requests to an application beside it.

use std::io::{BufRead, BufReader};

use super::proc::Proc;

/// Paths that are told.
const TOLD: usize = 4;

/// Paths of such sockets in the network namespace of a process: of those that listen, and of those accepted from one of its
/// clients, which has the listener's path wherever that one is.
pub fn paths(proc: &Proc, pid: u32) -> Vec<String> {
    proc.open(pid, "net/unix").map(|table| parse(BufReader::new(table))).unwrap_or_default()
}

/// `Num RefCount Protocol Flags Type St Inode Path`; type 1 is `SOCK_STREAM`, and a path without a slash abstract.
fn parse(table: impl BufRead) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in table.lines().skip(1).map_while(Result::ok) {
        let Some(at) = line.find('/') else { continue };
        let (fields, path) = line.split_at(at);
        let is_stream = fields.split_ascii_whitespace().nth(4) == Some("0001");
        let is_path = fields.ends_with(' ');
        if is_stream && is_path && !found.iter().any(|known| known == path) {
            found.push(path.to_owned());
        }
        if found.len() >= TOLD {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::HostRoot;

    #[test]
    fn a_listener_of_ones_own() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let table = std::fs::read_to_string("/proc/self/net/unix").unwrap();
        let own = table.lines().filter(|line| line.starts_with("Num") || line.contains("app.sock"));
        let own: String = own.map(|line| format!("{line}\n")).collect();
        assert_eq!(parse(own.as_bytes()), [path.to_str().unwrap()]);
        assert!(!paths(&Proc::new(&HostRoot::default()), std::process::id()).is_empty());
    }

    #[test]
    fn neither_datagrams_nor_abstract_names() {
        let line = |kind: &str, path: &str| format!("0000: 00000002 00000000 00010000 {kind} 01 4711 {path}\n");
        let lines = ["Num\n".to_owned(), line("0002", "/run/log"), line("0001", "@/tmp/x"), line("0001", "")];
        assert!(parse(lines.concat().as_bytes()).is_empty());
        let many: String = (0..9).map(|n| line("0001", &format!("/run/{} 0", n / 2))).collect();
        assert_eq!(parse(format!("Num\n{many}").as_bytes()), ["/run/0 0", "/run/1 0", "/run/2 0", "/run/3 0"]);
    }
}
