//! What a rule says.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Evidence, Link, Origin};

/// Stable ids of the causes (`docs/causes.md`).
pub mod cause {
    pub const APP_ERROR: &str = "app-error";
    pub const APP_CRASH: &str = "app-crash";
    pub const OOM_KILLED: &str = "oom-killed";
    pub const ACCEPT_QUEUE_OVERFLOW: &str = "accept-queue-overflow";
    pub const UPSTREAM_TIMEOUT: &str = "upstream-timeout";
    pub const EXTERNAL_UNAVAILABLE: &str = "external-unavailable";
    pub const NO_LISTENER: &str = "no-listener";
    pub const WRONG_TARGET_PORT: &str = "wrong-target-port";
    pub const SERVICE_NO_ENDPOINTS: &str = "service-no-endpoints";
    pub const SELECTOR_MISMATCH: &str = "selector-mismatch";
    pub const NOT_READY: &str = "not-ready";
    pub const NETWORK_POLICY_DROP: &str = "network-policy-drop";
    pub const FIREWALL_DROP: &str = "firewall-drop";
    pub const DNS_TIMEOUT: &str = "dns-timeout";
    pub const DNS_SERVFAIL: &str = "dns-servfail";
    pub const DNS_NXDOMAIN: &str = "dns-nxdomain";
    pub const CONNECT_TIMEOUT: &str = "connect-timeout";
    pub const CONNECTION_RESET: &str = "connection-reset";
    pub const GATEWAY_NO_UPSTREAM: &str = "gateway-no-upstream";
    pub const GATEWAY_ALTERED: &str = "gateway-altered";
    pub const DNS_UNAVAILABLE: &str = "dns-unavailable";
    pub const UNREACHABLE: &str = "unreachable";
    pub const FIREWALL_REJECT: &str = "firewall-reject";
    pub const SERVICE_PORT_UNKNOWN: &str = "service-port-unknown";
    pub const RATE_LIMITED: &str = "rate-limited";
    pub const CRASH_LOOP: &str = "crash-loop";
    pub const CONFIG_ERROR: &str = "config-error";
    pub const IMAGE_ERROR: &str = "image-error";
    pub const PROBE_FAILING: &str = "probe-failing";
    pub const LIVENESS_RESTART: &str = "liveness-restart";
    pub const NODE_PRESSURE: &str = "node-pressure";
    pub const CONTROL_PLANE_UNAVAILABLE: &str = "control-plane-unavailable";
    pub const LOCAL_TRAFFIC_POLICY: &str = "local-traffic-policy";
    pub const CPU_THROTTLED: &str = "cpu-throttled";
    pub const FD_EXHAUSTED: &str = "fd-exhausted";
    pub const DISK_FULL: &str = "disk-full";
    pub const STORAGE_ERROR: &str = "storage-error";
    pub const KEEPALIVE_RACE: &str = "keepalive-race";
    pub const UNKNOWN: &str = "unknown";
}

/// A cause with its reasons.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Judgement {
    pub(crate) cause: &'static str,
    pub(crate) confidence: f64,
    pub(crate) summary: String,
    pub(crate) origin: Option<Origin>,
    pub(crate) evidence: Vec<Evidence>,
    pub(crate) next: Vec<String>,
}

impl Judgement {
    pub(crate) fn new(cause: &'static str, confidence: f64, summary: String) -> Self {
        Self { cause, confidence, summary, origin: None, evidence: Vec::new(), next: Vec::new() }
    }

    pub(crate) fn origin(mut self, origin: Origin) -> Self {
        self.origin = Some(origin);
        self
    }

    pub(crate) fn because(mut self, evidence: impl IntoIterator<Item = Evidence>) -> Self {
        self.evidence.extend(evidence);
        self
    }

    pub(crate) fn next(mut self, command: impl Into<String>) -> Self {
        self.next.push(command.into());
        self
    }

    /// What two verdicts must share to be the same.
    pub(crate) fn fingerprint(&self) -> String {
        let origin = serde_json::to_string(&self.origin).unwrap_or_default();
        format!("{} {origin}", self.cause)
    }

    /// For a list of what may be.
    pub(crate) fn label(&self) -> String {
        let origin = self.origin.as_ref().and_then(|o| {
            let pod = o.namespace.as_ref().zip(o.pod.as_ref()).map(|(ns, pod)| format!("{ns}/{pod}"));
            pod.or_else(|| o.service.clone()).or_else(|| o.name.clone()).or_else(|| o.address.clone())
        });
        origin.map_or_else(|| self.cause.to_owned(), |o| format!("{} at {o}", self.cause))
    }
}

/// One observation.
pub(crate) fn evidence(kind: &str, at: Option<String>, text: String) -> Evidence {
    Evidence { kind: kind.to_owned(), at, text, fields: BTreeMap::new() }
}

impl Evidence {
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }
}

impl Link {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Header => "header",
            Self::Thread => "thread",
            Self::Time => "time",
        }
    }
}

/// Wall-clock time of a kernel stamp, RFC 3339 with milliseconds.
pub(crate) fn rfc3339(ktime: u64, wall_offset_ns: i64) -> String {
    let wall = i128::from(ktime) + i128::from(wall_offset_ns);
    match jiff::Timestamp::from_nanosecond(wall) {
        Ok(time) => format!("{time:.3}"),
        Err(_) => String::new(),
    }
}
