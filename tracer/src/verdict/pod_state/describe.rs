//! A pod's state as evidence: restarts, how it last ended, what it waits for, conditions, probes, warnings. Nothing of a
//! pod that is well.

use super::{cut, events_of, pressure};
use crate::{
    k8s::model::{ContainerStatus, Event, Pod, PortRef, Probe, Terminated},
    verdict::{Context, Evidence, evidence},
};

/// Warning events that are shown of a pod, the newest first.
const EVENTS: usize = 3;
/// What kept a pod from starting, as the scheduler and the kubelet call it (`pkg/kubelet/events/event.go` of Kubernetes): of no
/// consequence once it runs.
const BEFORE_START: &[&str] = &[
    "Failed",
    "FailedAttachVolume",
    "FailedCreatePodSandBox",
    "FailedMount",
    "FailedScheduling",
    "FailedSync",
    "InspectFailed",
    "NetworkNotReady",
];

/// Evidence of the pod's state; `probes` with the definitions of its probes.
pub(crate) fn describe(context: &Context<'_>, pod: &Pod, probes: bool) -> Vec<Evidence> {
    let name = &pod.metadata.name;
    let mut found = Vec::new();
    if let Some(message) = &pod.status.message {
        let reason = pod.status.reason.as_deref().unwrap_or_default();
        found.push(evidence("pod", None, format!("pod {name}: {} {reason}: {}", pod.status.phase, cut(message))));
    }
    let statuses = pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses);
    found.extend(statuses.filter_map(|status| container(name, status)));
    for condition in pod.status.conditions.iter().filter(|c| !c.is_true()) {
        let why = condition.message.as_deref().or(condition.reason.as_deref()).unwrap_or_default();
        if !why.is_empty() && matches!(condition.kind.as_str(), "Ready" | "PodScheduled") {
            let text = format!("pod {name}: {} is {}: {}", condition.kind, condition.status, cut(why));
            found.push(evidence("pod", condition.last_transition_time.as_ref().map(ToString::to_string), text));
        }
    }
    if probes {
        found.extend(definitions(pod));
    }
    let events = events_of(context.snapshot, pod);
    let told = |e: &&&Event| (e.kind == "Warning" || e.reason == "Killing") && !is_over(pod, e);
    found.extend(events.iter().rev().filter(told).take(EVENTS).map(|e| event(e)));
    let node = pod.spec.node_name.as_deref().and_then(|n| context.snapshot.node(n));
    if let Some((node, pressed)) = node.and_then(|n| Some((n, pressure(n)?))) {
        let text = format!("node {} reports {pressed}", node.metadata.name);
        found.push(evidence("node", None, text).with("node", node.metadata.name.as_str()));
    }
    found
}

/// The event says what kept the pod from starting, and it runs.
pub(super) fn is_over(pod: &Pod, event: &Event) -> bool {
    let statuses = &pod.status.container_statuses;
    let runs = !statuses.is_empty() && statuses.iter().all(|status| status.state.running.is_some());
    runs && BEFORE_START.contains(&event.reason.as_str())
}

fn container(pod: &str, status: &ContainerStatus) -> Option<Evidence> {
    let mut words = Vec::new();
    if let Some(waiting) = &status.state.waiting {
        let message = waiting.message.as_deref().map(|m| format!(" ({})", cut(m))).unwrap_or_default();
        words.push(format!("waits: {}{message}", waiting.reason.as_deref().unwrap_or("no reason given")));
    }
    let ended = status.state.terminated.as_deref().filter(|t| t.exit_code != 0);
    words.extend(ended.map(termination));
    if status.restart_count > 0 {
        words.push(format!("restarted {} times", status.restart_count));
        words.extend(status.last_state.terminated.as_deref().map(termination));
    }
    if words.is_empty() {
        return None;
    }
    let text = format!("pod {pod}, container {}: {}", status.name, words.join("; "));
    let at = status.last_state.terminated.as_ref().and_then(|t| t.finished_at.as_ref()).map(ToString::to_string);
    let mut found =
        evidence("pod", at, text).with("container", status.name.as_str()).with("restarts", status.restart_count);
    if let Some(reason) = status.state.waiting.as_ref().and_then(|w| w.reason.as_deref()) {
        found = found.with("waiting", reason);
    }
    if let Some(last) = status.last_state.terminated.as_deref() {
        found = found.with("exit_code", last.exit_code);
        found = last.reason.iter().fold(found, |found, reason| found.with("reason", reason.as_str()));
    }
    Some(found)
}

/// How a container ended.
pub(super) fn termination(ended: &Terminated) -> String {
    let reason = ended.reason.as_deref().map(|r| format!(" ({r})")).unwrap_or_default();
    let message = ended.message.as_deref().map(|m| format!(": {}", cut(m))).unwrap_or_default();
    match ended.signal {
        Some(signal) if signal != 0 => format!("it was ended by signal {signal}{reason}{message}"),
        _ => format!("it ended with exit code {}{reason}{message}", ended.exit_code),
    }
}

fn definitions(pod: &Pod) -> impl Iterator<Item = Evidence> + '_ {
    pod.running_containers().flat_map(|container| {
        [
            ("startup", &container.startup_probe),
            ("readiness", &container.readiness_probe),
            ("liveness", &container.liveness_probe),
        ]
        .into_iter()
        .filter_map(move |(kind, probe)| {
            let text = format!("container {}: {kind} probe {}", container.name, probe_definition(probe.as_deref()?));
            Some(evidence("probe", None, text).with("container", container.name.as_str()).with("probe", kind))
        })
    })
}

/// A probe's definition in words, with the API's defaults.
pub(crate) fn probe_definition(probe: &Probe) -> String {
    let port = |port: &PortRef| match port {
        PortRef::Number(number) => number.to_string(),
        PortRef::Name(name) => name.clone(),
    };
    let what = if let Some(get) = &probe.http_get {
        format!("GET {} on port {}", get.path.as_deref().unwrap_or("/"), port(&get.port))
    } else if let Some(socket) = &probe.tcp_socket {
        format!("connect to port {}", port(&socket.port))
    } else if let Some(grpc) = &probe.grpc {
        format!("gRPC on port {}", grpc.port)
    } else if let Some(exec) = &probe.exec {
        format!("exec {}", cut(&exec.command.join(" ")))
    } else {
        "of no known kind".to_owned()
    };
    format!("{what}, every {} s, timeout {} s, {} failures", probe.period(), probe.timeout(), probe.threshold())
}

fn event(event: &Event) -> Evidence {
    let times = event.count.filter(|n| *n > 1).map(|n| format!(" ×{n}")).unwrap_or_default();
    let text = format!("{}{times}: {}", event.reason, cut(&event.message));
    let found = evidence("event", event.last_seen().map(str::to_owned), text).with("reason", event.reason.as_str());
    match event.count {
        Some(count) => found.with("count", count),
        None => found,
    }
}
