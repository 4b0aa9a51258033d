//! Processes of the cluster: namespace holders, servers, and commands run inside pods.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::log;
use crate::run::{Place, app_binary};

const START_PATIENCE: Duration = Duration::from_secs(10);

/// A process that holds new namespaces open.
pub(super) fn hold(place: Place) -> Result<Child> {
    let mut command = Command::new(app_binary()?);
    command.arg("pause").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    place.apply(&mut command)?;
    command.spawn().context("cannot start a process in new namespaces (is this root?)")
}

/// A server; its output goes to a log file.
pub(super) fn serve(place: Place, words: &[String], log: &Path) -> Result<Child> {
    let (program, arguments) = words.split_first().context("an empty command line")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    place.apply(&mut command)?;
    let mut child = command.spawn().with_context(|| format!("cannot start {program}"))?;
    log::follow(&mut child, log)?;
    Ok(child)
}

/// Waits until something listens on the port, without sending a packet.
pub(super) fn wait_listening(child: &mut Child, port: u16, log: &Path) -> Result<()> {
    let deadline = Instant::now() + START_PATIENCE;
    while !listens(child.id(), port) {
        if let Some(status) = child.try_wait()? {
            bail!("the server for port {port} ended with {status}: {}", fs::read_to_string(log).unwrap_or_default());
        }
        if Instant::now() > deadline {
            bail!("nothing listens on port {port}: {}", fs::read_to_string(log).unwrap_or_default());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// A TCP listener, or a bound UDP socket for DNS, in the network namespace of the process.
fn listens(pid: u32, port: u16) -> bool {
    let (tables, state): (&[&str], &str) = if port == 53 { (&["udp", "udp6"], "07") } else { (&["tcp", "tcp6"], "0A") };
    let local = format!(":{port:04X}");
    tables.iter().filter_map(|table| fs::read_to_string(format!("/proc/{pid}/net/{table}")).ok()).any(|table| {
        table.lines().skip(1).any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            fields.next().is_some_and(|address| address.ends_with(&local)) && fields.nth(1) == Some(state)
        })
    })
}
