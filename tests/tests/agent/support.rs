//! A running agent, and the programs that read from it.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tracer_tests::{cluster::Cluster, run::Place};

/// Nothing here takes longer, not on a busy machine either.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// A port that is free.
pub(crate) fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Asks until the answer is there.
pub(crate) fn until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    within_patience(ask).unwrap_or_else(|| panic!("in vain: {what}"))
}

/// As [`until`], with nothing for an answer that doesn't come.
pub(crate) fn within_patience<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Some(found) => return Some(found),
            None if Instant::now() >= deadline => return None,
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// A process that ends with the test.
pub(crate) struct Program(Child);

impl Program {
    pub(crate) fn start(mut command: Command, log: &Path) -> Self {
        let file = File::create(log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        Place::default().apply(&mut command).unwrap();
        Self(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) struct Agent {
    program: Program,
    pub(crate) address: SocketAddr,
    pub(crate) log: PathBuf,
}

impl Agent {
    /// Starts an agent on the cluster's pods and waits until it is ready.
    pub(crate) fn start(cluster: &Cluster, settings: &[(&str, &str)]) -> Self {
        Self::start_on(cluster, false, settings)
    }

    /// On the pods of one node.
    pub(crate) fn start_on(cluster: &Cluster, second: bool, settings: &[(&str, &str)]) -> Self {
        let agent = Self::spawn(cluster, second, settings);
        until("the agent is ready", || {
            let answer = try_get(agent.address, "/readyz", "*/*");
            assert!(answer.is_some() || !agent.diagnostics().contains("error:"), "{}", agent.diagnostics());
            answer.filter(|(status, _)| *status == 200)
        });
        agent
    }

    /// Without waiting until it is ready.
    pub(crate) fn spawn(cluster: &Cluster, second: bool, settings: &[(&str, &str)]) -> Self {
        let address: SocketAddr = ([127, 0, 0, 1], port()).into();
        let tracer = std::env::var_os("TRACER_BIN").expect("TRACER_BIN doesn't name the tracer binary");
        let mut command = Command::new(tracer);
        command
            .arg("agent")
            .env("TRACER_LISTEN", address.to_string())
            .env("TRACER_KUBE_DUMP", format!("['{}']", cluster.write_dump().unwrap().display()))
            .env("TRACER_CGROUP", cluster.pods_cgroup(second))
            .env("TRACER_LOG", "info")
            .envs(settings.iter().copied());
        let log = cluster.instance.directory().join(format!("agent-{}.log", address.port()));
        Self { program: Program::start(command, &log), address, log }
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        try_get(self.address, path, "*/*").unwrap_or_else(|| panic!("no answer to {path}: {}", self.diagnostics()))
    }

    pub(crate) fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    pub(crate) fn metrics(&self) -> String {
        self.get("/metrics").1
    }

    /// The value of the only series whose text has all of these.
    pub(crate) fn metric(&self, parts: &[&str]) -> Option<f64> {
        let metrics = self.metrics();
        let mut lines = metrics.lines().filter(|line| parts.iter().all(|part| line.contains(part)));
        let value = lines.next()?.rsplit(' ').next()?.parse().ok();
        assert_eq!(lines.next(), None, "{parts:?} is not one series");
        value
    }

    pub(crate) fn incident(&self, cause: &str) -> Option<Value> {
        self.json(&format!("/v1/incidents?cause={cause}"))["incidents"].get(0).cloned()
    }

    /// As a container runtime stops it; whether it ended well and in time.
    pub(crate) fn terminate(self) -> bool {
        self.ask_to_end();
        self.ended()
    }

    pub(crate) fn ask_to_end(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Whether it ended well and in time.
    pub(crate) fn ended(mut self) -> bool {
        until("the agent ends", || self.program.0.try_wait().unwrap()).success()
    }

    /// Without a chance to do anything about it.
    pub(crate) fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        self.program.0.wait().unwrap();
    }

    pub(crate) fn diagnostics(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.program.0.id().try_into().unwrap()), signal).unwrap();
    }
}

/// Status and body, if there is an answer.
pub(crate) fn try_get(address: SocketAddr, path: &str, accept: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: agent\r\naccept: {accept}\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return Some((status, unchunk(body)));
    }
    Some((status, body.to_owned()))
}

fn unchunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || rest.len() < size {
            break;
        }
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}
