//! Which rule of a network namespace dropped a packet, as far as the ruleset leaves no doubt: read with `nft`, without
//! changing anything. Where `nft` isn't installed, or rules of the old kind (`ip_tables`) are there, too, nothing is said.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::event::{Flow, Rule};

use super::proc::Proc;

mod evaluate;

use evaluate::{Found, the_one};

/// A ruleset that takes longer to list is left alone.
const PATIENCE: Duration = Duration::from_secs(2);
const OUTPUT: u64 = 8 << 20;
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// Kept of a rule's text and comment.
const TEXT: usize = 300;

/// The one rule that can have dropped a packet of the flow at a hook of a process's network namespace. Waits for `nft`.
pub fn rule(proc: &Proc, pid: u32, flow: &Flow) -> Option<Rule> {
    // Old rules aren't listed by nft: with them the ruleset isn't the whole truth.
    for tables in ["net/ip_tables_names", "net/ip6_tables_names"] {
        if proc.read(pid, tables).is_ok_and(|names| !names.trim().is_empty()) {
            return None;
        }
    }
    let namespace = File::open(proc.path(pid).join("ns/net")).ok()?;
    let listing = run(&namespace, "nft", &["-j", "list", "ruleset"])?;
    let Found { family, table, chain, handle, index, comment, foreign } =
        the_one(&serde_json::from_str(&listing).ok()?, flow)?;
    let text = match handle {
        None => Some("policy drop".to_owned()),
        // Only iptables' own listing has the comments of its rules.
        Some(_) if foreign => saved(&namespace, &family, &table, &chain, index),
        Some(handle) => run(&namespace, "nft", &["-a", "list", "chain", &family, &table, &chain])
            .and_then(|text| with_handle(&text, handle)),
    };
    Some(Rule { flow: flow.clone(), family, table, chain, handle, text: text.map(cut), comment: comment.map(cut) })
}

fn with_handle(text: &str, handle: u64) -> Option<String> {
    let mark = format!(" # handle {handle}");
    text.lines().find_map(|line| line.strip_suffix(&mark)).map(|line| line.trim().to_owned())
}

fn saved(namespace: &File, family: &str, table: &str, chain: &str, index: usize) -> Option<String> {
    let program = if family == "ip6" { "ip6tables-nft-save" } else { "iptables-nft-save" };
    let text = run(namespace, program, &["-t", table])?;
    let begin = format!("-A {chain} ");
    text.lines().filter(|line| line.starts_with(&begin)).nth(index).map(str::to_owned)
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT));
    text
}

/// The output of a program in a network namespace.
fn run(namespace: &File, program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).env("PATH", PATH).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let fd = namespace.as_raw_fd();
    // SAFETY: between fork and exec only one system call is made, on a descriptor that outlives the spawn.
    unsafe {
        command.pre_exec(move || match libc::setns(fd, libc::CLONE_NEWNET) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
    let mut child = command.spawn().ok()?;
    let output = collect(&mut child);
    // Killed if it isn't done: nobody reads on.
    let _already_over = child.kill();
    let status = child.wait().ok()?;
    output.filter(|_| status.success() || status.code().is_none())
}

fn collect(child: &mut Child) -> Option<String> {
    let stdout = child.stdout.take()?;
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let mut text = String::new();
        let read = stdout.take(OUTPUT).read_to_string(&mut text);
        let _nobody_waits_any_more = sender.send(read.is_ok_and(|read| (read as u64) < OUTPUT).then_some(text));
    });
    receiver.recv_timeout(PATIENCE).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_by_its_handle() {
        let text = "table inet t {\n\tchain c { # handle 1\n\t\ttcp dport 80 drop # handle 12\n\t\tudp dport 53 drop # handle 2\n";
        assert_eq!(with_handle(text, 2).as_deref(), Some("udp dport 53 drop"));
        assert_eq!(with_handle(text, 3), None);
    }
}
