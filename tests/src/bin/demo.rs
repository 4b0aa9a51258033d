//! `tracer-demo`: a cluster, healthy traffic, then four faults one after the other, each explained by the tracer as it
//! happens.

use std::{
    path::PathBuf,
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::{Parser, ValueEnum};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::Deserialize;
use serde_json::json;
use tracer_tests::{
    capture::{self, Capture},
    cluster::{Cluster, ClusterSpec, judged},
    run::Place,
    scenario::{
        Expected, Fault, Traffic,
        expect::{find, problems},
        runner::{drive, inject, wrong_traffic},
    },
};

const DEMO: &str = include_str!("demo.yaml");
/// Emulated, everything takes its time.
const INCIDENT_PATIENCE: Duration = Duration::from_secs(15);
/// Lets the text come before the next fault, and a wrong blame come to light.
const SETTLE: Duration = Duration::from_millis(700);

/// Break a small cluster in four ways and see each explained
#[derive(Parser)]
#[command(name = "tracer-demo")]
struct Arguments {
    /// `json` prints the tracer's lines, one line per fault and a result
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Only this fault, by its name; may be given several times
    #[arg(long)]
    fault: Vec<String>,
    /// The tracer to run
    #[arg(long, env = "TRACER_BIN")]
    tracer: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Demo {
    cluster: ClusterSpec,
    healthy: Traffic,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    name: String,
    summary: String,
    #[serde(default)]
    faults: Vec<Fault>,
    traffic: Traffic,
    expect: Expected,
}

fn main() -> ExitCode {
    judged(|| demo(&Arguments::parse()))
}

fn demo(arguments: &Arguments) -> Result<bool> {
    if !nix::unistd::geteuid().is_root() {
        bail!("the demo makes namespaces and cgroups and needs root");
    }
    let started = Instant::now();
    let text = arguments.output == Output::Text;
    let say = |line: String| {
        if text {
            println!("{line}");
        }
    };
    let Demo { cluster, healthy, mut steps } = serde_yaml_ng::from_str(DEMO)?;
    if let Some(unknown) = arguments.fault.iter().find(|name| !steps.iter().any(|step| step.name == **name)) {
        bail!("the demo has no fault {unknown}");
    }
    steps.retain(|step| arguments.fault.is_empty() || arguments.fault.contains(&step.name));

    let mut cluster = Cluster::up(&cluster)?;
    let pods = cluster.plan.pods.len();
    say(format!("{pods} pods on a node of their own, up in {:.1} s", started.elapsed().as_secs_f32()));
    let printer = if text { Some(Printer::start(arguments, &cluster)?) } else { None };
    let mut capture = Capture::start(&arguments.tracer, &cluster, !text)?;

    let report = drive(&cluster, &healthy)?;
    if let Some(problem) = wrong_traffic(&cluster, &healthy, &report) {
        bail!("healthy traffic isn't healthy: {problem}");
    }
    say(format!("healthy traffic: {} requests, all answered with 200", healthy.number));
    capture.wait(SETTLE, |_| false)?;

    let mut explained = vec![];
    for Step { name, summary, faults, traffic, expect } in &steps {
        say(format!("\n── {name}: {summary}\n"));
        faults.iter().try_for_each(|fault| inject(&mut cluster, fault))?;
        if let Some(problem) = wrong_traffic(&cluster, traffic, &drive(&cluster, traffic)?) {
            bail!("the fault {name} has not the effect it should have: {problem}");
        }
        capture.wait(INCIDENT_PATIENCE, |seen| find(&cluster.plan, expect, seen).is_some())?;
        capture.wait(SETTLE, |_| false)?;
        let incident = find(&cluster.plan, expect, capture.incidents()).map(|incident| incident["id"].clone());
        if !text {
            let expect = expect.expanded(&cluster.plan)?;
            println!(
                "{}",
                json!({"type": "fault", "fault": name, "expected": expect, "incident": incident, "ok": incident.is_some()})
            );
        }
        explained.push((name, incident.is_some()));
    }

    let expected: Vec<Expected> = steps.iter().map(|step| step.expect.clone()).collect();
    let diagnostics = capture.diagnostics();
    let problems = problems(&cluster.plan, &expected, false, &capture.finish()?)?;
    if let Some(printer) = printer {
        printer.finish()?;
    }
    for problem in &problems {
        eprintln!("{problem}");
    }
    if !problems.is_empty() && !diagnostics.is_empty() {
        eprintln!("the tracer's standard error:\n{diagnostics}");
    }
    drop(cluster);
    let ok = problems.is_empty() && explained.iter().all(|(_, ok)| *ok);
    if text {
        println!();
        for (name, ok) in &explained {
            println!("{} {name}", if *ok { "explained" } else { "NOT EXPLAINED" });
        }
        let blame =
            if problems.is_empty() { "nothing else was blamed" } else { "see standard error for what is different" };
        println!("{blame}; everything removed; {:.1} s", started.elapsed().as_secs_f32());
    } else {
        println!("{}", json!({"type": "result", "ok": ok}));
    }
    Ok(ok)
}

/// A second tracer, whose text goes straight to the terminal; the first one is for checking.
struct Printer(Child);

impl Printer {
    fn start(arguments: &Arguments, cluster: &Cluster) -> Result<Self> {
        let mut command: Command = capture::command(&arguments.tracer, cluster, "text")?;
        command.stderr(Stdio::null());
        Place::default().apply(&mut command)?;
        Ok(Self(command.spawn().with_context(|| format!("cannot run {}", arguments.tracer.display()))?))
    }

    fn finish(mut self) -> Result<()> {
        // An error means that it has ended already.
        let _ = kill(Pid::from_raw(i32::try_from(self.0.id())?), Signal::SIGTERM);
        for _ in 0..1000 {
            if self.0.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("the tracer didn't end on SIGTERM")
    }
}

impl Drop for Printer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
