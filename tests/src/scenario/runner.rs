//! Running one scenario.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{ApiChange, Fault, Scenario, Traffic, expect, nodes::Captures};
use crate::{
    apiserver::ApiServer,
    app::client::Report,
    capture::{self, Capture},
    cluster::{Cluster, Plan},
    objects,
};

/// Failures that nothing waits for are reported after a quiet window of 10 s.
const INCIDENT_PATIENCE: Duration = Duration::from_secs(15);
/// Verdicts settle for about 200 ms; what is wrongly blamed comes within this time.
const SETTLE: Duration = Duration::from_millis(1500);

#[derive(Debug)]
pub struct Outcome {
    /// Why it failed; empty if it went as expected.
    pub problems: Vec<String>,
    pub incidents: Vec<Value>,
    pub elapsed: Duration,
}

/// Where the tracer has the cluster's state from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Dump,
    /// An API server.
    Live,
}

/// Runs the scenario under the tracer, or without one just to see that the traffic goes as the scenario says.
pub fn run(scenario: &Scenario, tracer: Option<&Path>, state: State) -> Result<Outcome> {
    let started = Instant::now();
    let mut cluster = Cluster::up(&scenario.cluster)?;
    if let Some(tracer) = tracer.filter(|_| cluster.plan.has_second_node()) {
        let captures = Captures::start(tracer, &cluster)?;
        let mut problems = drive_scenario(&mut cluster, scenario)?;
        let (wrong, incidents) = captures.finish(tracer, &cluster, scenario, SETTLE)?;
        problems.extend(wrong);
        return Ok(Outcome { problems, incidents, elapsed: started.elapsed() });
    }
    let mut server = match state {
        State::Dump if scenario.api.is_empty() => None,
        _ => Some(ApiServer::start(objects::items(&cluster.plan)?)?),
    };
    let mut capture = None;
    if let Some(tracer) = tracer {
        capture = Some(match &mut server {
            None => Capture::start(tracer, &cluster, false)?,
            Some(server) => {
                prepare(server, &scenario.api);
                Capture::start_live(tracer, &cluster, server)?
            }
        });
    }
    if let Some(server) = &mut server
        && scenario.api.iter().any(|change| matches!(change, ApiChange::Stop))
    {
        server.stop();
    }
    let mut problems = drive_scenario(&mut cluster, scenario)?;
    if let Some(server) = &server {
        replace_pods(server, &cluster.plan, &scenario.api)?;
    }
    let mut incidents = vec![];
    if let Some((mut capture, tracer)) = capture.take().zip(tracer) {
        let Scenario { expect: expected, allow_unknown, none, .. } = scenario;
        if !none {
            capture.wait(INCIDENT_PATIENCE, |seen| expect::all_seen(&cluster.plan, expected, seen))?;
        }
        capture.wait(SETTLE, |_| false)?;
        let diagnostics = capture.diagnostics();
        let seen = capture.finish()?;
        problems.extend(expect::problems(&cluster.plan, expected, *allow_unknown, &seen)?);
        problems.extend(expect::note_problems(&scenario.notes, &seen));
        let replayed = capture::replay(tracer, &cluster)?;
        if !seen.iter().eq(replayed.iter()) {
            let replayed: Vec<_> = replayed.iter().map(|incident| format!("\n    {incident}")).collect();
            problems.push(format!("a replay of the capture says something else:{}", replayed.concat()));
        }
        if !problems.is_empty() && !diagnostics.is_empty() {
            problems.push(format!("the tracer's standard error:\n{diagnostics}"));
        }
        incidents.extend(seen.iter().cloned());
    }
    Ok(Outcome { problems, incidents, elapsed: started.elapsed() })
}

/// What is wrong with the API server before the tracer asks it.
fn prepare(server: &ApiServer, changes: &[ApiChange]) {
    for change in changes {
        match change {
            ApiChange::Forbid { resource } => server.set(|faults| {
                faults.forbidden.insert(resource.clone());
            }),
            ApiChange::Break { after } => server.set(|faults| faults.break_after = Some(*after)),
            ApiChange::Stop | ApiChange::Replace { .. } => {}
        }
    }
}

fn replace_pods(server: &ApiServer, plan: &Plan, changes: &[ApiChange]) -> Result<()> {
    for change in changes {
        let ApiChange::Replace { pod, by } = change else { continue };
        let pod = plan.pods.iter().find(|known| known.spec.name == *pod).with_context(|| format!("no pod of {pod}"))?;
        let mut object = objects::pod_object(plan, pod);
        server.delete("v1/pods", &pod.spec.namespace, &pod.name)?;
        object["metadata"]["name"] = by.as_str().into();
        object["metadata"]["uid"] = format!("uid-{by}").into();
        object["metadata"]["labels"] = serde_json::json!({"app": by});
        object["metadata"]["ownerReferences"] = Value::Null;
        server.put(object)?;
    }
    Ok(())
}

pub fn inject(cluster: &mut Cluster, fault: &Fault) -> Result<()> {
    match fault {
        Fault::Isolate(isolation) => cluster.isolate(isolation),
        Fault::Firewall(rule) => cluster.add_firewall_rule(rule),
        Fault::LocalPorts { pod, low, high } => cluster.narrow_local_ports(pod, *low, *high),
        Fault::StartKubelet => cluster.start_kubelet(),
        Fault::Volume(volume) => cluster.mount_volume(volume),
        Fault::StopDns { pod } => cluster.signal_server(pod, Signal::SIGSTOP),
    }
}

/// Breaks what is to be broken, then drives.
fn drive_scenario(cluster: &mut Cluster, scenario: &Scenario) -> Result<Vec<String>> {
    scenario.faults.iter().try_for_each(|fault| inject(cluster, fault))?;
    drive_all(cluster, scenario)
}

/// Drives all traffic and returns what didn't go as the scenario says.
fn drive_all(cluster: &Cluster, scenario: &Scenario) -> Result<Vec<String>> {
    let one = |traffic| Ok(wrong_traffic(cluster, traffic, &drive(cluster, traffic)?));
    let results: Vec<Result<Option<String>>> = if scenario.at_once {
        std::thread::scope(|scope| {
            let running: Vec<_> = scenario.traffic.iter().map(|traffic| scope.spawn(move || one(traffic))).collect();
            running
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| bail!("a client's thread panicked")))
                .collect()
        })
    } else {
        scenario.traffic.iter().map(one).collect()
    };
    Ok(results.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

pub fn drive(cluster: &Cluster, traffic: &Traffic) -> Result<Report> {
    let Traffic { from, urls, number, concurrency, ids, keep_alive, hang_up_ms, idle_ms, pause_ms, results: _ } =
        traffic;
    let mut words: Vec<String> = vec![];
    for url in urls {
        words.extend(["--url".into(), cluster.plan.expand(url)?]);
    }
    words.extend(["-n".into(), number.to_string(), "-c".into(), concurrency.to_string()]);
    words.extend(["--idle-ms".into(), idle_ms.to_string()]);
    words.extend(["--pause-ms".into(), pause_ms.to_string()]);
    words.extend(ids.then(|| "--ids".into()));
    words.extend(keep_alive.then(|| "--keep-alive".into()));
    if let Some(time) = hang_up_ms {
        words.extend(["--hang-up-ms".into(), time.to_string()]);
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    cluster.client(from, &words).with_context(|| format!("traffic to {}", urls.join(" ")))
}

/// What the client saw, if it isn't what the scenario says, with the logs of all pods.
pub fn wrong_traffic(cluster: &Cluster, traffic: &Traffic, report: &Report) -> Option<String> {
    if report.results == traffic.results {
        return None;
    }
    let logs = cluster
        .plan
        .pods
        .iter()
        .map(|pod| (&pod.name, cluster.log(&format!("{}/{}", pod.spec.namespace, pod.spec.name))))
        .filter(|(_, log)| !log.is_empty());
    let logs: String =
        logs.map(|(name, log)| format!("\n    {name}: {}", log.trim_end().replace('\n', "\n      "))).collect();
    let (urls, results) = (traffic.urls.join(" "), &traffic.results);
    Some(format!("the client of {urls} saw {:?}, the scenario says {results:?}{logs}", report.results))
}
