//! What a cluster consists of, as data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{app::Routes, server::Server};

/// The IP family that Services, DNS and the servers use; pods have both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Family {
    #[default]
    V4,
    V6,
}

impl TryFrom<u8> for Family {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        match number {
            4 => Ok(Self::V4),
            6 => Ok(Self::V6),
            other => Err(format!("ip is 4 or 6, not {other}")),
        }
    }
}

impl From<Family> for u8 {
    fn from(family: Family) -> Self {
        match family {
            Family::V4 => 4,
            Family::V6 => 6,
        }
    }
}

/// How the kubelet names cgroups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CgroupDriver {
    #[default]
    Systemd,
    Cgroupfs,
}

/// How kube-proxy makes Services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyMode {
    #[default]
    Iptables,
    Nftables,
    /// ClusterIPs are addresses of the node's own, too, which refuses their other ports. The translation itself is the
    /// iptables mode's, for few kernels have IPVS.
    Ipvs,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterSpec {
    #[serde(default)]
    pub ip: Family,
    #[serde(default)]
    pub cgroups: CgroupDriver,
    #[serde(default)]
    pub proxy: ProxyMode,
    pub pods: Vec<PodSpec>,
    #[serde(default)]
    pub services: Vec<ServiceSpec>,
    /// NetworkPolicy objects for the dump; the rules of the CNI come from a [`crate::firewall::Isolation`].
    #[serde(default)]
    pub policies: Vec<serde_json::Value>,
    /// Further objects of the dump, such as Events; a Node of the same name replaces the cluster's. Variables are replaced.
    #[serde(default)]
    pub objects: Vec<serde_json::Value>,
    #[serde(default)]
    pub outside: Vec<OutsideSpec>,
    /// Zones the DNS server answers with SERVFAIL.
    #[serde(default)]
    pub servfail_zones: Vec<String>,
    /// Zones that it asks a pod for, with another DNS server in it.
    #[serde(default)]
    pub forwarded_zones: BTreeMap<String, String>,
    /// The DNS pod isn't ready, so that its Service has no endpoints.
    #[serde(default)]
    pub dns_not_ready: bool,
    /// Pods of the second node see the first node's address in place of its pods'.
    #[serde(default)]
    pub masquerade: bool,
}

impl ClusterSpec {
    #[must_use]
    pub fn has_second_node(&self) -> bool {
        self.pods.iter().any(|pod| pod.on_second_node)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkloadKind {
    #[default]
    Deployment,
    StatefulSet,
    Job,
    Pod,
}

/// One pod; `name` is its workload's name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodSpec {
    pub name: String,
    #[serde(default = "shop")]
    pub namespace: String,
    #[serde(default)]
    pub kind: WorkloadKind,
    /// Besides `app`, which is the workload's name unless given here.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default = "yes")]
    pub ready: bool,
    #[serde(default)]
    pub memory_limit_mib: Option<u64>,
    /// In thousandths of a core.
    #[serde(default)]
    pub cpu_limit_millis: Option<u64>,
    /// `RLIMIT_NOFILE` of the server.
    #[serde(default)]
    pub descriptor_limit: Option<u64>,
    /// The pod lies on another node, and that node answers nothing.
    #[serde(default)]
    pub on_dead_node: bool,
    /// The pod lies on the cluster's second node, which has a tracer of its own.
    #[serde(default)]
    pub on_second_node: bool,
    /// `readinessProbe`, `livenessProbe`, `startupProbe` as the API writes them; the kubelet makes them once it is started.
    #[serde(default)]
    pub probes: BTreeMap<String, Probe>,
    /// What its object says otherwise: members replace members, lists replace lists.
    #[serde(default)]
    pub object: serde_json::Value,
    #[serde(default)]
    pub server: Server,
}

/// A probe as the API writes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Probe {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_get: Option<HttpGet>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_socket: Option<TcpSocket>,
    pub period_seconds: u64,
    pub timeout_seconds: u64,
    pub failure_threshold: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpGet {
    pub path: String,
    pub port: u16,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcpSocket {
    pub port: u16,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSpec {
    pub name: String,
    #[serde(default = "shop")]
    pub namespace: String,
    /// `app: <name>` unless given.
    #[serde(default)]
    pub selector: Option<BTreeMap<String, String>>,
    pub port: u16,
    /// The Service's port unless given.
    #[serde(default)]
    pub target_port: Option<u16>,
    /// `Local`: only endpoints of this node are used.
    #[serde(default)]
    pub internal_traffic_policy: TrafficPolicy,
    /// A host outside that answers for the Service, which then has no selector.
    #[serde(default)]
    pub backend: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrafficPolicy {
    #[default]
    Cluster,
    Local,
}

impl ServiceSpec {
    #[must_use]
    pub fn selector(&self) -> BTreeMap<String, String> {
        if self.backend.is_some() {
            return BTreeMap::new();
        }
        self.selector.clone().unwrap_or_else(|| BTreeMap::from([("app".into(), self.name.clone())]))
    }
}

/// A host outside the cluster, found by its DNS name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutsideSpec {
    pub name: String,
    pub port: u16,
    /// What it serves; without routes it answers no SYN.
    #[serde(default)]
    pub routes: Option<Routes>,
}

fn shop() -> String {
    "shop".into()
}
fn yes() -> bool {
    true
}
