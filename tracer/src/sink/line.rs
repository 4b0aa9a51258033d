//! The lines of `-o json`: one type per `"type"`, the contract in `docs/schema/`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::event::Record;
use crate::k8s::Snapshot;
use crate::k8s::snapshot::Collection;
use crate::verdict::{Incident, SCHEMA};

/// One line of output.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Line<'a> {
    /// First: the hooks are attached and the cluster's state is loaded.
    Ready(Versioned<'a, Ready>),
    /// A failure, explained. Printed again with the same `id` when it recurs: the last line of an id wins.
    Incident(Versioned<'a, Incident>),
    /// With `--events`: what the core was told.
    Event(Versioned<'a, EventLine<'a>>),
    /// At the end: how much was seen.
    Summary(Versioned<'a, Summary>),
    /// Last: what could not be seen.
    Coverage(Versioned<'a, CoverageLine>),
}

/// What is printed, with the version of its form.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Versioned<'a, T: Clone> {
    /// Version of the form.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: &'static str,
    #[serde(flatten)]
    pub value: Cow<'a, T>,
}

impl<'a, T: Clone> Versioned<'a, T> {
    pub fn new(value: &'a T) -> Self {
        Self { schema: SCHEMA, value: Cow::Borrowed(value) }
    }
}

/// Observation has begun.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Ready {
    /// Of the tracer.
    pub version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Release of the running kernel.
    pub kernel: String,
    /// The cgroup subtree that is observed; absent for the whole node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// Hooks at work.
    pub hooks: Vec<String>,
    /// Hooks that are not, and why.
    pub skipped: Vec<SkippedHook>,
    pub snapshot: SnapshotSize,
}

/// A hook that isn't attached.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct SkippedHook {
    pub hook: String,
    pub reason: String,
}

/// How much is known of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct SnapshotSize {
    pub pods: usize,
    pub services: usize,
    pub network_policies: usize,
    pub nodes: usize,
}

impl SnapshotSize {
    pub fn of(snapshot: &Snapshot) -> Self {
        Self {
            pods: snapshot.count(Collection::Pods),
            services: snapshot.count(Collection::Services),
            network_policies: snapshot.count(Collection::NetworkPolicies),
            nodes: snapshot.count(Collection::Nodes),
        }
    }
}

/// An event with its wall-clock time.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct EventLine<'a> {
    /// RFC 3339.
    pub time: Cow<'a, str>,
    #[serde(flatten)]
    #[schemars(with = "AnyEvent")]
    pub record: Cow<'a, Record>,
}

/// Any kind of event; its fields are those of the tracer's own model and may grow.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes the form, holds nothing")]
struct AnyEvent {
    /// Nanoseconds of the kernel's monotonic clock.
    at: u64,
    /// `exchange`, `connect`, `connect-attempt`, `signal`, `drop`, `icmp`, `dns`, `process`, `cgroup`, `host`, `lost`
    event: String,
    #[serde(flatten)]
    fields: BTreeMap<String, serde_json::Value>,
}

/// How much was seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Summary {
    pub duration_s: f64,
    /// HTTP requests, whichever end was seen; one seen at both ends counts once. Absent where only failures are known
    /// (a capture file).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// Requests that failed: answered with a failing status, or not answered.
    pub failures: u64,
    /// Occurrences by cause.
    pub incidents: BTreeMap<String, u64>,
    /// By workload and end.
    pub workloads: Vec<WorkloadSummary>,
}

/// One workload's requests, at one end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct WorkloadSummary {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// `Kind/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// Process name, where there is no pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// Path of the cgroup, where nothing better is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// `server`: requests it answered; `client`: requests it made.
    pub role: &'static str,
    pub requests: u64,
    /// Answered with 5xx.
    pub errors: u64,
    /// Answers by class: `2xx`, …; `other`.
    pub status: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<Latency>,
}

/// Percentiles of the time from a request's first byte to its status line, interpolated within the kernel's buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Latency {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
}

/// What could not be seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct CoverageLine {
    pub lost_events: u64,
    pub opaque_tls_processes: u64,
    pub joined_connections: u64,
    /// Losses by place; only places that lost something.
    pub lost: BTreeMap<String, u64>,
    /// Sentences: what this kernel lacks, and what that costs.
    pub notes: Vec<String>,
}

/// The schema of every line, as it is checked in.
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(Line<'static>);
    schema.insert("title".to_owned(), "A line of `tracer capture -o json`".into());
    schema.insert(
        "$comment".to_owned(),
        "Generated from the Rust types: cargo run -p tracer -- schema > docs/schema/tracer-v1.json".into(),
    );
    schema.to_value()
}
