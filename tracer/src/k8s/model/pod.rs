//! Pods and the state of their containers.

use std::net::IpAddr;
use std::sync::Arc;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::meta::share;
use super::{Condition, Metadata, PortRef, Protocol};

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pod {
    pub metadata: Metadata,
    pub spec: PodSpec,
    pub status: PodStatus,
}

impl Pod {
    /// Every address of the pod, without repetition; for a `hostNetwork` pod these are its node's.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let first = self.status.pod_ip;
        let rest = self.status.pod_ips.iter().filter_map(|entry| entry.ip).filter(move |ip| Some(*ip) != first);
        first.into_iter().chain(rest).map(|ip| ip.to_canonical())
    }

    /// The containers that run beside each other and may listen: the ordinary ones, and sidecars (init containers that
    /// keep running).
    pub fn running_containers(&self) -> impl Iterator<Item = &Container> {
        let sidecars = self.spec.init_containers.iter().filter(|c| c.restart_policy.as_deref() == Some("Always"));
        self.spec.containers.iter().chain(sidecars)
    }

    /// The number behind a named container port.
    pub fn named_port(&self, name: &str, protocol: Protocol) -> Option<u16> {
        self.running_containers()
            .flat_map(|container| &container.ports)
            .find(|port| port.name == name && port.protocol == protocol)
            .map(|port| port.container_port)
    }

    /// The container that declares to listen on a port.
    pub fn declaring(&self, port: u16, protocol: Protocol) -> Option<&Container> {
        self.running_containers().find(|c| c.ports.iter().any(|p| p.container_port == port && p.protocol == protocol))
    }

    /// Whether the pod has run to its end, so that its address may belong to another pod by now.
    pub fn is_finished(&self) -> bool {
        matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }

    /// Whether its Ready condition holds and it is not being deleted.
    pub fn is_ready(&self) -> bool {
        self.metadata.deletion_timestamp.is_none()
            && !self.is_finished()
            && self.status.conditions.iter().any(|condition| condition.kind == "Ready" && condition.is_true())
    }

    /// Uses the other's memory for what is the same: all but names and states, where both are of one template.
    pub(in crate::k8s) fn share(&mut self, other: &Self) {
        self.metadata.share(&other.metadata);
        share(&mut self.spec.containers, &other.spec.containers);
        share(&mut self.spec.init_containers, &other.spec.init_containers);
    }
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub host_network: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    pub containers: Arc<[Container]>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub init_containers: Arc<[Container]>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<ContainerPort>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub liveness_probe: Option<Box<Probe>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readiness_probe: Option<Box<Probe>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub startup_probe: Option<Box<Probe>>,
    #[serde(skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,
    /// Only on init containers; `Always` makes one a sidecar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    pub container_port: u16,
    pub protocol: Protocol,
}

/// A probe, with the defaults of the API where a field is absent.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Probe {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_get: Option<HttpGetAction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_socket: Option<TcpSocketAction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcAction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecAction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_delay_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_threshold: Option<u32>,
}

impl Probe {
    pub fn period(&self) -> u32 {
        self.period_seconds.unwrap_or(10).max(1)
    }

    pub fn timeout(&self) -> u32 {
        self.timeout_seconds.unwrap_or(1).max(1)
    }

    pub fn threshold(&self) -> u32 {
        self.failure_threshold.unwrap_or(3).max(1)
    }
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpGetAction {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    pub port: PortRef,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TcpSocketAction {
    pub port: PortRef,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GrpcAction {
    pub port: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExecAction {
    pub command: Vec<String>,
}

/// Limits only: what a container asked for explains nothing, what it may not exceed does.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    #[serde(skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
}

impl Resources {
    fn is_empty(&self) -> bool {
        self.limits.is_empty()
    }
}

/// Quantities as written, such as `500m` and `512Mi`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "quantity")]
    pub cpu: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "quantity")]
    pub memory: Option<String>,
}

impl Limits {
    fn is_empty(&self) -> bool {
        self.cpu.is_none() && self.memory.is_none()
    }
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    #[serde(skip_serializing_if = "CompactString::is_empty")]
    pub phase: CompactString,
    #[serde(rename = "podIP", skip_serializing_if = "Option::is_none", deserialize_with = "address")]
    pub pod_ip: Option<IpAddr>,
    #[serde(rename = "podIPs", skip_serializing_if = "Vec::is_empty")]
    pub pod_ips: Vec<PodIp>,
    #[serde(rename = "hostIP", skip_serializing_if = "Option::is_none", deserialize_with = "address")]
    pub host_ip: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<CompactString>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<CompactString>,
    /// Without those that are true of every running pod and so say nothing.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "telling_conditions")]
    pub conditions: Vec<Condition>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub container_statuses: Vec<ContainerStatus>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub init_container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct PodIp {
    #[serde(deserialize_with = "address")]
    pub ip: Option<IpAddr>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    pub name: CompactString,
    /// `runtime://id`, as the kubelet reports it.
    #[serde(rename = "containerID", skip_serializing_if = "Option::is_none")]
    pub container_id: Option<CompactString>,
    pub ready: bool,
    /// Whether the startup probe has succeeded, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<bool>,
    pub restart_count: u32,
    #[serde(skip_serializing_if = "ContainerState::is_empty")]
    pub state: ContainerState,
    #[serde(skip_serializing_if = "ContainerState::is_empty")]
    pub last_state: ContainerState,
}

/// At most one of the three is set.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerState {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Box<Waiting>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<Running>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminated: Option<Box<Terminated>>,
}

impl ContainerState {
    fn is_empty(&self) -> bool {
        self.waiting.is_none() && self.running.is_none() && self.terminated.is_none()
    }
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Waiting {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<CompactString>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<CompactString>,
}

/// Says by its presence all that is used of it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Running {}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Terminated {
    pub exit_code: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<CompactString>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<CompactString>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<CompactString>,
}

/// An address that may be written as an empty string while the pod has none.
fn address<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let Ok(address) = text.parse() else {
        return Err(serde::de::Error::custom(format!("{text:?} is not an IP address")));
    };
    Ok(Some(address))
}

/// The API writes quantities as strings, people write bare numbers, too.
fn quantity<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        Value::Number(number) => Ok(Some(number.to_string())),
        other => Err(serde::de::Error::custom(format!("{other} is not a quantity such as \"500m\" or \"512Mi\""))),
    }
}

/// A third of a pod's memory would be conditions that hold for every running pod.
fn telling_conditions<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Condition>, D::Error> {
    const USUAL: [&str; 4] = ["ContainersReady", "Initialized", "PodReadyToStartContainers", "PodScheduled"];
    let mut conditions = Vec::<Condition>::deserialize(deserializer)?;
    conditions.retain(|condition| !(condition.is_true() && USUAL.contains(&condition.kind.as_str())));
    // Only what isn't so is ever dated.
    conditions
        .iter_mut()
        .filter(|condition| condition.is_true())
        .for_each(|condition| condition.last_transition_time = None);
    conditions.shrink_to_fit();
    Ok(conditions)
}
