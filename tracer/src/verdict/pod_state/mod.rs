//! What is wrong with a pod, by its status and the events about it.

mod describe;
mod node;
mod start;
#[cfg(test)]
mod tests;

use super::cause;
use crate::k8s::{
    model::{ContainerStatus, Event, Pod, Terminated},
    snapshot::Snapshot,
};

pub(crate) use describe::{describe, probe_definition};
pub(crate) use node::pressure;

/// Longer messages of the kubelet or a registry are cut.
const MESSAGE: usize = 240;

/// Why a pod doesn't answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trouble {
    pub(crate) cause: &'static str,
    /// The container, unless it is the whole pod.
    pub(crate) container: Option<String>,
    /// Nothing of the pod runs before it has ended.
    pub(crate) init: bool,
    pub(crate) what: String,
}

/// The trouble that keeps the pod from answering, if its state names one. Init containers come first: nothing else runs
/// before they have ended.
pub(crate) fn trouble(snapshot: &Snapshot, pod: &Pod) -> Option<Trouble> {
    let pod = snapshot.soon_after(pod);
    if let Some(what) = node::eviction(pod).or_else(|| node::tainted(snapshot, pod)) {
        return Some(Trouble { cause: cause::NODE_PRESSURE, container: None, init: false, what });
    }
    if pod.is_finished() || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let events = events_of(snapshot, pod);
    let init = pod.status.init_container_statuses.iter().map(|status| (status, true));
    let rest = pod.status.container_statuses.iter().map(|status| (status, false));
    init.chain(rest).find_map(|(status, init)| {
        let (cause, what) = of_container(pod, status, init, &events)?;
        let what = format!("container {} {what}", status.name);
        Some(Trouble {
            cause,
            container: Some(status.name.to_string()),
            init: init && !is_sidecar(pod, &status.name),
            what,
        })
    })
}

/// Events about this very pod, oldest first.
pub(crate) fn events_of<'a>(snapshot: &'a Snapshot, pod: &Pod) -> Vec<&'a Event> {
    let Pod { metadata, .. } = pod;
    let mut events = snapshot.events_of("Pod", &metadata.namespace, &metadata.name);
    // A pod of a StatefulSet bears the name of the one before it.
    events.retain(|event| {
        let uid = &event.involved_object.uid;
        uid.is_empty() || metadata.uid.is_empty() || *uid == metadata.uid
    });
    events
}

fn is_sidecar(pod: &Pod, name: &str) -> bool {
    pod.spec.init_containers.iter().any(|c| c.name == name && c.restart_policy.as_deref() == Some("Always"))
}

fn of_container(pod: &Pod, status: &ContainerStatus, init: bool, events: &[&Event]) -> Option<(&'static str, String)> {
    let events: Vec<&Event> = events.iter().filter(|event| is_about(event, &status.name)).copied().collect();
    let last = status.last_state.terminated.as_deref();
    if let Some(waiting) = &status.state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or_default();
        let message = waiting.message.as_deref().unwrap_or_default();
        let waits = format!("waits: {reason}{}", tail(message));
        return match reason {
            // pkg/kubelet/images/types.go of Kubernetes.
            "ErrImagePull"
            | "ImagePullBackOff"
            | "InvalidImageName"
            | "ErrImageNeverPull"
            | "ImageInspectError"
            | "RegistryUnavailable"
            | "SignatureValidationFailed" => Some((cause::IMAGE_ERROR, waits)),
            "CreateContainerConfigError" => Some((cause::CONFIG_ERROR, waits)),
            "CreateContainerError" => Some((start::failure(message).unwrap_or(cause::CONFIG_ERROR), waits)),
            "RunContainerError" => {
                let why = last.and_then(|t| t.message.as_deref()).unwrap_or_default();
                let found = start::failure(message).or_else(|| start::failure(why))?;
                Some((found, waits))
            }
            "CrashLoopBackOff" => {
                let (cause, how) = crashed(last, &events);
                Some((cause, format!("waits: CrashLoopBackOff, restarted {} times{how}", status.restart_count)))
            }
            _ => events
                .iter()
                .rev()
                .find_map(|event| start::missing_volume(event))
                .map(|message| (cause::CONFIG_ERROR, format!("waits: {reason}{}", tail(message)))),
        };
    }
    let looping = events.iter().any(|e| e.reason == "BackOff" && e.message.contains("restarting failed container"));
    let restarted = format!(", restarted {} times", status.restart_count);
    if let Some(ended) = status.state.terminated.as_deref() {
        let done = init && ended.exit_code == 0;
        if done || !(looping || status.restart_count >= 2 || start::never_ran(ended)) {
            return None;
        }
        let (cause, how) = crashed(Some(ended), &events);
        return Some((cause, format!("has ended{restarted}{how}")));
    }
    if status.ready || status.state.running.is_none() || (init && !is_sidecar(pod, &status.name)) {
        return None;
    }
    if let Some(found) = unhealthy(pod, status, &events) {
        return Some((cause::PROBE_FAILING, found));
    }
    let last = last.filter(|_| looping)?;
    let (cause, how) = crashed(Some(last), &events);
    Some((cause, format!("has just been started again{restarted}{how}")))
}

/// An event about another container says nothing of this one.
pub(crate) fn is_about(event: &Event, container: &str) -> bool {
    container_of(event).is_none_or(|name| name == container)
}

/// The container that an event is about, if it is about one.
pub(crate) fn container_of(event: &Event) -> Option<&str> {
    let path = event.involved_object.field_path.as_deref();
    path.and_then(|p| p.split_once('{')).and_then(|(_, rest)| rest.strip_suffix('}'))
}

/// Why it ends again and again, with its last end in words.
fn crashed(ended: Option<&Terminated>, events: &[&Event]) -> (&'static str, String) {
    let Some(ended) = ended else { return (cause::CRASH_LOOP, String::new()) };
    let how = format!("; {}", describe::termination(ended));
    if ended.reason.as_deref() == Some("OOMKilled") {
        return (cause::OOM_KILLED, how);
    }
    if start::never_ran(ended)
        && let Some(found) = ended.message.as_deref().and_then(start::failure)
    {
        return (found, how);
    }
    match killed_by_probe(events).filter(|_| ends_as_told(ended)) {
        Some(("Liveness", _)) => (cause::LIVENESS_RESTART, format!("{how}, because its liveness probe failed")),
        Some((_, _)) => (cause::PROBE_FAILING, format!("{how}, because its startup probe failed")),
        None => (cause::CRASH_LOOP, how),
    }
}

/// By SIGTERM, by SIGKILL after the grace period, or by itself when told to.
fn ends_as_told(ended: &Terminated) -> bool {
    matches!(ended.exit_code, 0 | 137 | 143) || matches!(ended.signal, Some(9 | 15))
}

/// The probe that the kubelet last killed a container for (`Liveness` or `Startup`), with the event. Another reason for
/// a newer kill counts as well: a pod that is deleted is not restarted.
pub(crate) fn killed_by_probe<'a>(events: &[&'a Event]) -> Option<(&'static str, &'a Event)> {
    let last = events.iter().rev().find(|event| event.reason == "Killing")?;
    let message = last.message.to_ascii_lowercase();
    // pkg/kubelet/kuberuntime/kuberuntime_manager.go: "Container %s failed liveness probe, will be restarted".
    [("Liveness", "failed liveness probe"), ("Startup", "failed startup probe")]
        .into_iter()
        .find(|(_, text)| message.contains(text))
        .map(|(kind, _)| (kind, *last))
}

/// The failing probe of a running container that isn't ready, as the kubelet told it.
fn unhealthy(pod: &Pod, status: &ContainerStatus, events: &[&Event]) -> Option<String> {
    let container = pod.running_containers().find(|c| c.name == status.name)?;
    let failed = |kind: &str| {
        let of = |e: &&&Event| e.reason == "Unhealthy" && e.message.starts_with(kind) && e.message.contains("probe");
        events.iter().rev().find(of).map(|e| e.message.trim())
    };
    let (name, probe, message) = match (&container.startup_probe, &container.readiness_probe) {
        (Some(probe), _) if status.started != Some(true) && failed("Startup").is_some() => {
            ("startup", probe, failed("Startup")?)
        }
        (_, Some(probe)) => ("readiness", probe, failed("Readiness")?),
        _ => return None,
    };
    Some(format!("fails its {name} probe ({}): {}", probe_definition(probe), cut(message)))
}

/// A message behind a colon, if there is one.
fn tail(message: &str) -> String {
    if message.trim().is_empty() { String::new() } else { format!(" ({})", cut(message)) }
}

pub(crate) fn cut(message: &str) -> String {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= MESSAGE { line } else { line.chars().take(MESSAGE - 1).chain(['…']).collect() }
}
