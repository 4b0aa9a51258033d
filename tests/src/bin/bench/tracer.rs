//! The tracer beside the load.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use aya::programs::loaded_programs;
use nix::{
    sys::signal::{Signal, kill},
    time::{clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};
use serde::Serialize;
use serde_json::Value;
use tracer_tests::run::Place;

/// What the tracer is to do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted<'a> {
    /// Only the sockets below this cgroup.
    pub(crate) cgroup: Option<&'a Path>,
    /// Only these hooks.
    pub(crate) hooks: &'a [&'a str],
}

pub(crate) struct Tracer {
    child: Child,
    lines: BufReader<ChildStdout>,
    /// From the start of the process to `ready`.
    pub(crate) started_in: Duration,
}

/// What a run of a program cost.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) runs: u64,
    pub(crate) nanoseconds: u64,
    /// As the kernel runs them, and as its verifier had to look at.
    pub(crate) instructions: u32,
    pub(crate) verified: u32,
}

/// What it said at the end.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) summary: Value,
    pub(crate) coverage: Value,
}

impl Tracer {
    pub(crate) fn start(binary: &Path, wanted: &Wanted<'_>, directory: &Path) -> Result<Self> {
        let log = directory.join("tracer.log");
        let mut command = Command::new(binary);
        command.args(["capture", "--kube", "off", "-o", "json"]);
        if let Some(cgroup) = wanted.cgroup {
            command.arg("--cgroup").arg(cgroup);
        }
        if !wanted.hooks.is_empty() {
            command.arg("--hooks").arg(wanted.hooks.join(","));
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log)?);
        Place::default().apply(&mut command)?;
        let since = Instant::now();
        let mut child = command.spawn().with_context(|| format!("cannot run {}", binary.display()))?;
        let mut lines = BufReader::new(child.stdout.take().context("no standard output")?);
        let mut line = String::new();
        lines.read_line(&mut line)?;
        if !line.contains("\"type\":\"ready\"") {
            bail!("the tracer is not ready: {line}{}", fs::read_to_string(&log).unwrap_or_default());
        }
        Ok(Self { child, lines, started_in: since.elapsed() })
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Processor time of all its threads.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        Ok(clock_gettime(clock_getcpuclockid(self.pid())?)?.into())
    }

    /// Processors that it takes meanwhile.
    pub(crate) fn processors_during(&self, work: impl FnOnce() -> Result<()>) -> Result<f64> {
        let (since, before) = (Instant::now(), self.processor_time()?);
        work()?;
        Ok((self.processor_time()? - before).as_secs_f64() / since.elapsed().as_secs_f64())
    }

    /// Resident memory now, and the most there was, in MiB.
    pub(crate) fn memory(&self) -> Result<(f64, f64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| -> Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
            Ok(line.trim_end_matches("kB").trim().parse::<f64>()? / 1024.0)
        };
        Ok((field("VmRSS:")?, field("VmHWM:")?))
    }

    /// Its programs, by what its descriptors are.
    pub(crate) fn programs(&self) -> Result<Vec<Program>> {
        let directory = format!("/proc/{}/fdinfo", self.child.id());
        let mut own = HashSet::new();
        for entry in fs::read_dir(directory)? {
            let text = fs::read_to_string(entry?.path()).unwrap_or_default();
            let is_program = text.lines().any(|line| line.starts_with("prog_tag:"));
            let id = text.lines().find_map(|line| line.strip_prefix("prog_id:")?.trim().parse::<u32>().ok());
            own.extend(id.filter(|_| is_program));
        }
        let mut programs = vec![];
        for info in loaded_programs() {
            // One of another process may end meanwhile.
            let Ok(info) = info else { continue };
            if own.contains(&info.id()) {
                programs.push(Program {
                    name: info.name_as_str().unwrap_or_default().to_owned(),
                    runs: info.run_count(),
                    nanoseconds: u64::try_from(info.run_time().as_nanos())?,
                    instructions: info.size_translated().unwrap_or_default() / 8,
                    verified: info.verified_instruction_count().unwrap_or_default(),
                });
            }
        }
        Ok(programs)
    }

    /// Ends it as Ctrl-C does, and reads what it says.
    pub(crate) fn stop(mut self) -> Result<Said> {
        kill(self.pid(), Signal::SIGTERM)?;
        let mut said = Said { summary: Value::Null, coverage: Value::Null };
        let mut line = String::new();
        while self.lines.read_line(&mut line)? > 0 {
            let value: Value = serde_json::from_str(&line).with_context(|| format!("not JSON: {line}"))?;
            match value["type"].as_str() {
                Some("summary") => said.summary = value,
                Some("coverage") => said.coverage = value,
                _ => {}
            }
            line.clear();
        }
        self.child.wait()?;
        if said.coverage.is_null() {
            bail!("the tracer ended without saying what it saw");
        }
        Ok(said)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
