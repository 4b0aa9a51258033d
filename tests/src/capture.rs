//! A running `tracer capture` and what it says.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{
    apiserver::ApiServer,
    cluster::{
        Cluster,
        plan::{NODE_NAME, SECOND_NODE_NAME},
    },
    run::Place,
};

/// The tracer ends by itself even if everything here goes wrong.
const LONGEST_SECONDS: u64 = 120;
/// Emulated, a kernel takes half a minute to verify the programs.
const READY_PATIENCE: Duration = Duration::from_secs(60);
const END_PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Capture {
    child: Child,
    lines: Receiver<String>,
    incidents: Incidents,
    /// Print every line of the tracer as it comes.
    echo: bool,
    log: PathBuf,
}

/// Incidents by id in the order they first came; the last line of an id wins.
#[derive(Debug, Default)]
pub struct Incidents {
    order: Vec<String>,
    last: HashMap<String, Value>,
}

impl Incidents {
    pub fn iter(&self) -> impl Iterator<Item = &Value> {
        self.order.iter().filter_map(|id| self.last.get(id))
    }

    /// Those among the lines that the tracer printed.
    pub fn read(text: &str) -> Result<Self> {
        let mut incidents = Self::default();
        for line in text.lines() {
            let value: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
            if value["type"] == "incident" {
                incidents.add(value);
            }
        }
        Ok(incidents)
    }

    fn add(&mut self, incident: Value) {
        let id = incident["id"].as_str().unwrap_or_default().to_owned();
        if self.last.insert(id.clone(), incident).is_none() {
            self.order.push(id);
        }
    }
}

impl Capture {
    /// Starts the tracer on the cluster's pods and waits until its hooks are attached.
    pub fn start(tracer: &Path, cluster: &Cluster, echo: bool) -> Result<Self> {
        Self::start_with(command(tracer, cluster, "json")?, cluster, echo)
    }

    /// The same, with the cluster's state from an API server.
    pub fn start_live(tracer: &Path, cluster: &Cluster, server: &ApiServer) -> Result<Self> {
        let kubeconfig = cluster.instance.directory().join("kubeconfig");
        server.write_kubeconfig(&kubeconfig)?;
        let mut command = bare_command(tracer, cluster, "json", LONGEST_SECONDS, false);
        command.arg("--kube").arg(kubeconfig);
        Self::start_with(command, cluster, false)
    }

    fn start_with(mut command: Command, cluster: &Cluster, echo: bool) -> Result<Self> {
        command.arg("--write").arg(recording(cluster));
        Self::run(command, cluster.instance.directory().join("tracer.log"), echo)
    }

    /// Runs a tracer's command line; `log` takes its standard error.
    pub fn run(mut command: Command, log: PathBuf, echo: bool) -> Result<Self> {
        command.stdout(Stdio::piped()).stderr(File::create(&log)?);
        Place::default().apply(&mut command)?;
        let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let stdout = child.stdout.take().context("no standard output")?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut capture = Self { child, lines, incidents: Incidents::default(), echo, log };
        let deadline = Instant::now() + READY_PATIENCE;
        loop {
            match capture.next(deadline)? {
                Some(line) if line["type"] == "ready" => return Ok(capture),
                Some(_) => {}
                None => bail!("the tracer was not ready in time or ended: {}", capture.diagnostics()),
            }
        }
    }

    /// Takes in what comes until `done` or until the limit; whether it was done.
    pub fn wait(&mut self, limit: Duration, mut done: impl FnMut(&Incidents) -> bool) -> Result<bool> {
        let deadline = Instant::now() + limit;
        loop {
            if done(&self.incidents) {
                return Ok(true);
            }
            if self.next(deadline)?.is_none() {
                return Ok(false);
            }
        }
    }

    /// Ends the tracer as Ctrl-C does and takes in the rest.
    pub fn finish(mut self) -> Result<Incidents> {
        // An error means that it has ended already.
        let _ = kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGTERM);
        let deadline = Instant::now() + END_PATIENCE;
        let mut summary = false;
        while let Some(line) = self.next(deadline)? {
            summary |= line["type"] == "summary";
        }
        if Instant::now() >= deadline {
            bail!("the tracer didn't end on SIGTERM: {}", self.diagnostics());
        }
        let status = self.child.wait()?;
        if !status.success() || !summary {
            bail!("the tracer ended with {status}, summary printed: {summary}: {}", self.diagnostics());
        }
        Ok(std::mem::take(&mut self.incidents))
    }

    #[must_use]
    pub fn incidents(&self) -> &Incidents {
        &self.incidents
    }

    #[must_use]
    pub fn diagnostics(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The next line, or nothing at the deadline or the end.
    fn next(&mut self, deadline: Instant) -> Result<Option<Value>> {
        let left = deadline.saturating_duration_since(Instant::now());
        let line = match self.lines.recv_timeout(left) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(None),
        };
        let value: Value = serde_json::from_str(&line).with_context(|| format!("not JSON: {line}"))?;
        if self.echo {
            println!("{line}");
        }
        if value["type"] == "incident" {
            self.incidents.add(value.clone());
        }
        Ok(Some(value))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `tracer explain` makes of the recording of a capture that has ended.
pub fn replay(tracer: &Path, cluster: &Cluster) -> Result<Incidents> {
    let file = recording(cluster);
    let file = file.to_str().context("a path that is not UTF-8")?;
    let tracer = tracer.to_str().context("a path that is not UTF-8")?;
    let output = crate::run::checked(Place::default(), tracer, &["explain", "-o", "json", file], "")?;
    Incidents::read(&output)
}

fn recording(cluster: &Cluster) -> PathBuf {
    cluster.instance.directory().join("recording")
}

/// The command line for capturing the cluster's pods.
pub fn command(tracer: &Path, cluster: &Cluster, output: &str) -> Result<Command> {
    command_for(tracer, cluster, output, LONGEST_SECONDS)
}

/// The same with another limit.
pub fn command_for(tracer: &Path, cluster: &Cluster, output: &str, seconds: u64) -> Result<Command> {
    let mut command = bare_command(tracer, cluster, output, seconds, false);
    command.args(["--kube", "off", "--kube-dump"]).arg(cluster.write_dump()?);
    Ok(command)
}

/// The command line for capturing one node's pods into a file.
pub fn command_of_node(tracer: &Path, cluster: &Cluster, second: bool, file: &Path) -> Result<Command> {
    let name = if second { SECOND_NODE_NAME } else { NODE_NAME };
    let mut command = bare_command(tracer, cluster, "json", LONGEST_SECONDS, second);
    command.args(["--node-name", name, "--kube", "off", "--kube-dump"]).arg(cluster.write_dump()?);
    command.arg("--write").arg(file);
    Ok(command)
}

/// Without the cluster's state.
fn bare_command(tracer: &Path, cluster: &Cluster, output: &str, seconds: u64, second: bool) -> Command {
    let mut command = Command::new(tracer);
    command.args(["capture", "--duration", &format!("{seconds}s"), "-o", output, "--cgroup"]);
    command.arg(cluster.pods_cgroup(second));
    command.arg("--host-root").arg(cluster.instance.host_root()).stdin(Stdio::null());
    command
}
