//! Probes as the kubelet makes them: a new connection each, from the node, period by period.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

/// One probe of one container.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Probing {
    pub address: SocketAddr,
    /// Of an HTTP probe; without it the connection is enough.
    pub path: Option<String>,
    pub period: Duration,
    pub timeout: Duration,
    /// Failures in a row after which the container counts as failed.
    pub threshold: u32,
    /// Whom a failed liveness probe ends.
    pub kill: Option<i32>,
}

/// Probes until the process is killed.
pub fn run(probes: Vec<Probing>) -> Result<()> {
    let threads: Vec<_> = probes.into_iter().map(|probe| thread::spawn(move || forever(&probe))).collect();
    for thread in threads {
        let _ = thread.join();
    }
    Ok(())
}

fn forever(probe: &Probing) {
    let mut failures = 0;
    loop {
        let next = Instant::now() + probe.period;
        failures = if succeeds(probe).unwrap_or(false) { 0 } else { failures + 1 };
        if let Some(pid) = probe.kill
            && failures >= probe.threshold
        {
            println!("killing {pid}");
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            return;
        }
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// The kubelet takes statuses from 200 to 399 for success.
fn succeeds(probe: &Probing) -> Result<bool> {
    let mut stream = TcpStream::connect_timeout(&probe.address, probe.timeout)?;
    let Some(path) = &probe.path else { return Ok(true) };
    stream.set_read_timeout(Some(probe.timeout))?;
    let host = probe.address;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: kube-probe/1.34\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )?;
    let mut line = [0; 12];
    stream.read_exact(&mut line)?;
    Ok(matches!(line[9], b'2' | b'3'))
}
