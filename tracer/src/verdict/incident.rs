//! The incident as it is printed, served and stored: the contract with scripts and dashboards (`docs/schema/`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{Exchange, Ktime};

/// Version of the JSON objects.
pub const SCHEMA: &str = "tracer/v1";

/// One failure, explained; or several alike, counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Incident {
    /// Stable: the same live and in a replay.
    pub id: String,
    /// RFC 3339.
    pub first_seen: String,
    pub last_seen: String,
    pub count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    pub symptom: Symptom,
    /// From the outermost hop seen to the origin.
    pub path: Vec<Hop>,
    pub cause: Cause,
    pub evidence: Vec<Evidence>,
    /// What to run next.
    pub next: Vec<String>,
    pub coverage: Coverage,
}

/// What was noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SymptomKind {
    #[serde(rename = "http-5xx")]
    Http5xx,
    ConnectRefused,
    ConnectTimeout,
    ConnectUnreachable,
    Reset,
    Drop,
    DnsTimeout,
    DnsError,
    TlsFailure,
    NoAnswer,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Symptom {
    pub kind: SymptomKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Without query, at most 128 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
}

impl Incident {
    /// Whether its path or its origin is in this namespace, or was called through a Service of it.
    pub fn touches(&self, namespace: &str) -> bool {
        touches(&self.path, self.cause.origin.as_ref(), namespace)
    }
}

pub(crate) fn touches(path: &[Hop], origin: Option<&Origin>, namespace: &str) -> bool {
    let of_service = |service: &String| service.split_once('/').is_some_and(|(of, _)| of == namespace);
    let is = |own: Option<&String>, service: Option<&String>| {
        own.is_some_and(|own| own == namespace) || service.is_some_and(of_service)
    };
    path.iter().any(|hop| is(hop.namespace.as_ref(), hop.service.as_ref()))
        || origin.is_some_and(|origin| is(origin.namespace.as_ref(), origin.service.as_ref()))
}

/// How a hop is known to belong to the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Link {
    Root,
    Header,
    Thread,
    Time,
}

/// One element of the path.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Hop {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// `Kind/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Process name, where there is no pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// `namespace/name` of the Service it was called through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// DNS name of something outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A status, or what happened instead (`refused`, `no answer`, …).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<Link>,
    /// The same on every node that saw the request: the client's address and port, and the sequence number of the
    /// request's first byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Keys of later occurrences, at most 16: a sample that every node takes alike.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// Begin and end in the kernel's time. Neither this nor what follows is printed: spans say it.
    #[serde(skip)]
    pub times: Option<(u64, u64)>,
    /// Method and path of the HTTP request that it stands for.
    #[serde(skip)]
    pub request: Option<(String, String)>,
    /// What its request ended with in place of an answer, as metrics have it.
    #[serde(skip)]
    pub silence: Option<&'static str>,
    /// Asked by UDP, as most resolvers are; else by TCP.
    #[serde(skip)]
    pub udp: bool,
    /// A server of which only its caller's end was seen here.
    #[serde(skip)]
    pub elsewhere: bool,
}

impl Hop {
    /// Sets what it was asked, and what came of that by then.
    pub(crate) fn exchanged(&mut self, exchange: &Exchange, until: Ktime) {
        self.outcome = Some(crate::correlate::outcome(exchange, until));
        self.request = exchange.request.as_ref().map(|head| (head.method.clone(), head.path.clone()));
        self.silence = Some(exchange.silence());
    }

    /// Sets its times and how long that is.
    pub(crate) fn lasted(&mut self, start: u64, end: u64) {
        self.times = Some((start, end));
        self.duration_ms = Some(crate::correlate::milliseconds(start, end));
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cause {
    /// One of the ids in `docs/causes.md`.
    pub id: String,
    /// 0 to 1.
    pub confidence: f64,
    /// One sentence.
    pub summary: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// The deepest element that failed on its own account: what to look at first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Origin {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// One observation, with typed fields of its kind beside the text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// `exchange`, `connect`, `drop`, `reset`, `icmp`, `dns`, `process`, `service`, `policy`, `listener`, `link`, …
    pub kind: String,
    /// RFC 3339, for what has a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    pub text: String,
    #[serde(flatten)]
    pub fields: std::collections::BTreeMap<String, serde_json::Value>,
}

/// What could not be seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Coverage {
    pub lost_events: u64,
    pub opaque_tls_processes: u64,
    /// Connections that were open before they were observed: what they carried earlier isn't known.
    #[serde(default)]
    pub joined_connections: u64,
    pub notes: Vec<String>,
}
