//! The agent's configuration: a YAML file, `TRACER_*` variables over it, and every error with the field's path.
//!
//! Doc comments here are the reference: `docs/configuration.md` is generated from them.

mod load;
pub mod settings;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use load::{ConfigError, load};

use crate::sink::prometheus::{Limits, OptIn};

/// What `tracer agent` does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Name of this node in the cluster; its host name by default
    pub node_name: Option<String>,
    /// Directory where the host's file system is mounted
    pub host_root: PathBuf,
    /// Observe only the sockets of this cgroup v2 subtree; the whole node by default
    pub cgroup: Option<PathBuf>,
    /// Statuses from here on are failures, 100 to 599
    pub min_status: u16,
    /// The API server: `auto` (the pod's service account or `$KUBECONFIG`, unless a dump is given), `off`, or a kubeconfig
    pub kube: String,
    /// How long the start waits for the cluster's first state; then it goes on without
    pub kube_patience: Span,
    /// Watch only this node's pods; those of other nodes are looked up when a failure involves them
    pub pods_of_node_only: bool,
    /// Cluster state from files or directories saved with `kubectl get … -o yaml`, in place of a live cluster
    pub kube_dump: Vec<PathBuf>,
    /// Where `/metrics`, `/healthz`, `/readyz` and `/v1/` are served
    pub listen: SocketAddr,
    /// Connections served at a time; more are closed at once, and counted. 4 to 10000
    pub max_connections: usize,
    /// On SIGTERM, how long exporters may take to send what waits
    pub grace: Span,
    /// Let the kernel count runs and time of the eBPF programs; costs a little in each run
    pub ebpf_statistics: bool,
    pub incidents: Incidents,
    pub journal: Journal,
    pub metrics: Metrics,
    pub otlp: Otlp,
}

/// Incidents kept in memory for `/v1/incidents`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Incidents {
    /// As many, 10 to 100000; those that recurred longest ago are forgotten first
    pub max: usize,
    /// For so long after they last recurred
    pub max_age: Span,
}

/// Incidents on disk, so that they survive a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Journal {
    /// The file; no journal by default
    pub path: Option<PathBuf>,
    /// Its size in bytes, at least 65536; then it is rewritten with the newest incidents that fit in half of it
    pub max_bytes: u64,
}

/// Metrics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Label sets of one metric, 10 to 100000; what comes beyond is counted in overflow series
    pub series_limit: usize,
    /// Labels beside the default ones: `pod`, `peer`
    pub labels: Vec<MetricLabel>,
    /// A series without an event for so long goes
    pub idle: Span,
}

/// A label that is there only if it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MetricLabel {
    /// Of the workload's pods, each
    Pod,
    /// Address and port of what is called
    Peer,
}

/// Export of incidents as traces and log records.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Otlp {
    /// The receiver, such as `http://otel-collector.monitoring:4317`; no export by default. `https` for TLS
    pub endpoint: Option<String>,
    /// `grpc`, or `http` for protobuf over HTTP (then the endpoint is the base of `/v1/traces` and `/v1/logs`)
    pub protocol: Protocol,
    /// What to export: `traces`, `logs`
    pub signals: Vec<Signal>,
    /// Headers of every request, such as `authorization`
    #[serde(serialize_with = "names_only")]
    pub headers: BTreeMap<String, String>,
    /// How long a request may take
    pub timeout: Span,
    /// Incidents that may wait to be sent, 1 to 100000; more are lost, and counted
    pub queue: usize,
    /// The log record of an incident that recurs is exported again after so long; its trace is that of the first occurrence
    pub repeat: Span,
    /// Certificates (PEM) to trust in place of the system's
    pub ca_file: Option<PathBuf>,
    /// Our certificate (PEM), where the receiver asks for one
    pub cert_file: Option<PathBuf>,
    /// Its key (PEM)
    pub key_file: Option<PathBuf>,
}

/// How OTLP is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    #[default]
    Grpc,
    Http,
}

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    Traces,
    Logs,
}

/// A duration with units: `30s`, `1m30s`, `24h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub struct Span(#[schemars(with = "String")] pub Duration);

impl Default for Config {
    fn default() -> Self {
        Self {
            node_name: None,
            host_root: "/".into(),
            cgroup: None,
            min_status: 500,
            kube: "auto".to_owned(),
            kube_patience: Span(Duration::from_secs(60)),
            pods_of_node_only: false,
            kube_dump: Vec::new(),
            listen: SocketAddr::from(([0, 0, 0, 0], 9464)),
            max_connections: 64,
            grace: Span(Duration::from_secs(10)),
            ebpf_statistics: false,
            incidents: Incidents::default(),
            journal: Journal::default(),
            metrics: Metrics::default(),
            otlp: Otlp::default(),
        }
    }
}

impl Default for Incidents {
    fn default() -> Self {
        Self { max: 2000, max_age: Span(Duration::from_secs(24 * 3600)) }
    }
}

impl Default for Journal {
    fn default() -> Self {
        Self { path: None, max_bytes: 16 << 20 }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self { series_limit: 1000, labels: Vec::new(), idle: Span(Duration::from_secs(3600)) }
    }
}

impl Default for Otlp {
    fn default() -> Self {
        Self {
            endpoint: None,
            protocol: Protocol::Grpc,
            signals: vec![Signal::Traces, Signal::Logs],
            headers: BTreeMap::new(),
            timeout: Span(Duration::from_secs(10)),
            queue: 1000,
            repeat: Span(Duration::from_secs(300)),
            ca_file: None,
            cert_file: None,
            key_file: None,
        }
    }
}

impl Metrics {
    pub fn limits(&self) -> Limits {
        let opt_in = |label: &MetricLabel| match label {
            MetricLabel::Pod => OptIn::Pod,
            MetricLabel::Peer => OptIn::Peer,
        };
        Limits { per_metric: self.series_limit, opt_in: self.labels.iter().map(opt_in).collect() }
    }
}

/// Values of headers are secrets.
fn names_only<S: Serializer>(headers: &BTreeMap<String, String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(headers.keys().map(|name| (name, "<hidden>")))
}

impl fmt::Debug for Otlp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Otlp").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let span = jiff::SignedDuration::try_from(self.0).map_err(serde::ser::Error::custom)?;
        serializer.collect_str(&format_args!("{span:#}"))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        crate::cli::args::duration(&text).map(Self).map_err(serde::de::Error::custom)
    }
}
