//! Every metric: its name, its labels, what it says. `docs/metrics.md` is generated from this table.
//!
//! Request durations have OpenTelemetry's names, attributes and boundaries; Prometheus' exporter rules turn the dots into
//! underscores and add the unit. Everything else begins with `tracer_`, but for the process' own standard metrics.

/// OpenTelemetry's boundaries for request and lookup durations, in seconds.
pub const DURATION_BOUNDS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    /// With [`DURATION_BOUNDS`].
    Histogram,
}

/// A label that is only there if the configuration asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OptIn {
    Pod,
    Peer,
}

#[derive(Clone, Copy, Debug)]
pub struct Label {
    pub name: &'static str,
    pub about: &'static str,
    /// Its values are few by nature: the overflow series keeps it.
    pub bounded: bool,
    pub opt_in: Option<OptIn>,
}

const fn label(name: &'static str, about: &'static str) -> Label {
    Label { name, about, bounded: false, opt_in: None }
}

const fn bounded(name: &'static str, about: &'static str) -> Label {
    Label { name, about, bounded: true, opt_in: None }
}

const fn opt_in(name: &'static str, about: &'static str, opt_in: OptIn) -> Label {
    Label { name, about, bounded: false, opt_in: Some(opt_in) }
}

const NAMESPACE: Label = label("namespace", "whose: the Kubernetes namespace; absent outside of pods");
const WORKLOAD: Label = label(
    "workload",
    "whose: `Kind/name`, such as `Deployment/cart`; outside of pods `Cgroup/name`, such as `Cgroup/kubelet.service`",
);
const POD: Label = opt_in("pod", "the pod", OptIn::Pod);
const PEER_NAMESPACE: Label = label("peer_namespace", "namespace of what was called");
const PEER_NAME: Label = label(
    "peer_name",
    "what was called: the Service, the `Kind/name` of a pod called directly, `node`, or `external` for anything outside",
);
const PEER_ADDRESS: Label = opt_in("peer_address", "address and port of what was called", OptIn::Peer);
const METHOD: Label = label("http_request_method", "as OpenTelemetry has it: the methods of RFC 9110 and `PATCH`");
const STATUS: Label = label("http_response_status_code", "absent where no answer came");
const ERROR_TYPE: Label = bounded(
    "error_type",
    "absent on success; the status of a failure (5xx for servers, 4xx and 5xx for clients), `_OTHER` for one from 600 on; \
     `connection_reset` or `no_response` where no answer came",
);
const PROGRAM: Label = bounded("program", "the hook that it is attached to");
const METRIC: Label = bounded("metric", "name of the metric");

/// One metric and what it says.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    pub metric: Metric,
    /// Without `_total`.
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
    pub labels: &'static [Label],
}

impl Family {
    /// As Prometheus stores it.
    pub fn full_name(&self) -> String {
        if self.kind == Kind::Counter { format!("{}_total", self.name) } else { self.name.to_owned() }
    }
}

macro_rules! catalog {
    ($($metric:ident: $kind:ident $name:literal [$($label:expr),* $(,)?] $help:literal;)*) => {
        /// Every metric.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Metric {
            $($metric,)*
        }

        /// In the order of [`Metric`].
        pub const FAMILIES: &[Family] = &[
            $(Family { metric: Metric::$metric, name: $name, kind: Kind::$kind, help: $help, labels: &[$($label),*] },)*
        ];
    };
}

catalog! {
    ServerDuration: Histogram "http_server_request_duration_seconds"
        [NAMESPACE, WORKLOAD, POD, METHOD, STATUS, ERROR_TYPE]
        "HTTP requests answered by pods of this node, from the request's first byte to the status line";
    ClientDuration: Histogram "http_client_request_duration_seconds"
        [NAMESPACE, WORKLOAD, POD, PEER_NAMESPACE, PEER_NAME, PEER_ADDRESS, METHOD, STATUS, ERROR_TYPE]
        "HTTP requests made by pods of this node, from the request's first byte to the status line";
    Incidents: Counter "tracer_incidents"
        [
            bounded("cause", "an id of `docs/causes.md`"),
            bounded("symptom", "`http-5xx`, `connect-refused`, `connect-timeout`, `connect-unreachable`, `reset`, `drop`, \
                     `dns-timeout`, `dns-error`, `tls-failure`, `no-answer`"),
            label("namespace", "where it arose: namespace of the origin"),
            label(
                "workload",
                "where it arose: `Kind/name` of the origin, else `Service/name`, `Process/name`, `node` or `external`",
            ),
            opt_in("pod", "the origin's pod", OptIn::Pod),
            label("affected_namespace", "who was affected: namespace of the outermost hop that was seen"),
            label("affected_workload", "who was affected: `Kind/name` of the outermost hop, else `Process/name`"),
        ]
        "Failures that were explained, by cause and origin; exemplars carry the trace id";
    ConnectFailures: Counter "tracer_connect_failures"
        [
            bounded("reason", "`refused`, `timeout`, `unreachable`, `no-source-port`, `not-sent` (it died before a SYN \
                     was sent), `abandoned` (given up before an answer came), `other`"),
            NAMESPACE, WORKLOAD, POD, PEER_NAMESPACE, PEER_NAME, PEER_ADDRESS,
        ]
        "TCP connects that failed, each attempt";
    Drops: Counter "tracer_drops"
        [
            bounded("reason", "the kernel's drop reason, such as `NETFILTER_DROP`; absent before Linux 5.17"),
            bounded("mechanism", "`netfilter`, `tc`, `xdp`, `cgroup`, `routing`, …, as the place in the kernel tells"),
            label("namespace", "who sent it"),
            label("workload", "who sent it"),
            POD,
            label("peer_namespace", "whom it was meant for"),
            label("peer_name", "whom it was meant for"),
            PEER_ADDRESS,
        ]
        "Packets that the kernel dropped; of a flow at most five a second are counted";
    TcpResets: Counter "tracer_tcp_resets"
        [
            bounded("direction", "`received` or `sent`"),
            bounded("reason", "the kernel's reset reason; absent before Linux 6.10 and for those received"),
            NAMESPACE, WORKLOAD, POD, PEER_NAMESPACE, PEER_NAME, PEER_ADDRESS,
        ]
        "TCP resets";
    TcpRetransmits: Counter "tracer_tcp_retransmits"
        [bounded("packet", "`syn`, `syn-ack`; `data` is counted for the whole node, without other labels"), NAMESPACE, WORKLOAD, POD]
        "TCP segments sent again; of one connect the first few SYNs";
    DnsLookups: Counter "tracer_dns_lookups"
        [
            bounded("outcome", "`noerror`, `nxdomain`, `servfail`, `refused`, `formerr`, `notimp`, `other`, `timeout`"),
            NAMESPACE, WORKLOAD, POD,
        ]
        "DNS queries by what became of them, as the asking end saw it";
    DnsDuration: Histogram "tracer_dns_lookup_duration_seconds"
        [NAMESPACE, WORKLOAD, POD]
        "From a DNS query to its answer; unanswered ones aren't in it";
    ProcessDeaths: Counter "tracer_process_deaths"
        [bounded("reason", "`oom-killed`, `signal`, `exit-code`"), NAMESPACE, WORKLOAD, POD]
        "Processes that the kernel killed for memory, that died by a signal, or that served requests and ended with an error code";
    Events: Counter "tracer_events"
        [bounded("event", "kind of event")]
        "What the core was told";
    LostEvents: Counter "tracer_lost_events"
        [
            bounded("ring", "where: `failures` and `events` (rings), `maps` (a kernel map was full), `flight` (the flight \
                     recorder was overwritten), `agent` (in user space)"),
            bounded("kind", "what was lost: a kind of event, or what the full map holds"),
        ]
        "What was lost; with losses less is asserted";
    Forgotten: Counter "tracer_forgotten"
        [bounded("what", "`cgroups`, `pods`, `processes`, `namespaces`, `addresses`: who is who, known again when heard of; \
                 `exchanges`, `connects`, `connect_attempts`, `drops`, `syns`, `signals`, `deaths`, `probes`, `lookups`: events \
                 of the last two minutes; `symptoms`, `looks`: left out; `incidents`, `told`: counted anew")]
        "What made room for newer in the core's bounded memory";
    OpaqueTls: Gauge "tracer_opaque_tls_processes" [] "Processes with TLS connections that can't be read";
    LastTick: Gauge "tracer_last_tick_timestamp_seconds" [] "When the pipeline last ran; it does ten times a second";
    SnapshotObjects: Gauge "tracer_snapshot_objects"
        [bounded("kind", "`pods`, `services`, `network_policies`, `nodes`")]
        "What is known of the cluster";
    IncidentsStored: Gauge "tracer_incidents_stored" [] "Incidents in memory";
    IncidentsEvicted: Counter "tracer_incidents_evicted" [] "Incidents forgotten because the store was full";
    JournalBytes: Gauge "tracer_journal_size_bytes" [] "Size of the journal";
    JournalErrors: Counter "tracer_journal_errors"
        [bounded("reason", "`write`: it couldn't be written; `torn`: records of an earlier run that can't be read")]
        "Trouble with the journal";
    OtlpItems: Counter "tracer_otlp_items"
        [
            bounded("signal", "`traces`, `logs`"),
            bounded("outcome", "`sent`, `refused` (by the receiver, for good), `lost` (the queue was full, or the end came)"),
        ]
        "Incidents by what became of their export";
    OtlpRetries: Counter "tracer_otlp_retries" [bounded("signal", "`traces`, `logs`")] "Exports tried again";
    OtlpQueue: Gauge "tracer_otlp_queue_length" [] "Incidents that wait to be exported";
    HttpRefused: Counter "tracer_http_refused_connections" [] "Connections to the agent beyond what it serves at a time";
    Series: Gauge "tracer_series" [METRIC] "Label sets in use";
    SeriesOverflow: Counter "tracer_series_overflow"
        [METRIC]
        "Observations that went to the overflow series, whose unbounded labels are `_other`, because the limit was reached";
    ProgramAttached: Gauge "tracer_ebpf_program_attached" [PROGRAM] "1: attached; 0: this kernel lacks it, or refused it";
    ProgramRuns: Counter "tracer_ebpf_program_runs" [PROGRAM] "Runs of an eBPF program; with `ebpf_statistics` only";
    ProgramSeconds: Counter "tracer_ebpf_program_run_seconds" [PROGRAM] "Time in an eBPF program; with `ebpf_statistics` only";
    BuildInfo: Gauge "tracer_build_info" [bounded("version", "of the tracer"), bounded("kernel", "release of the running kernel")] "Always 1";
    ProcessCpu: Counter "process_cpu_seconds" [] "CPU time of the agent, in user space and kernel";
    ProcessMemory: Gauge "process_resident_memory_bytes" [] "Resident memory of the agent";
    ProcessVirtual: Gauge "process_virtual_memory_bytes" [] "Virtual memory of the agent";
    ProcessFds: Gauge "process_open_fds" [] "Open file descriptors of the agent";
    ProcessMaxFds: Gauge "process_max_fds" [] "Limit of its file descriptors";
    ProcessStart: Gauge "process_start_time_seconds" [] "When the agent started";
}

impl Metric {
    pub fn family(self) -> &'static Family {
        &FAMILIES[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use tracer_common::limits::LATENCY_BOUNDS_NS;

    use super::*;

    #[test]
    fn names_are_as_prometheus_wants_them() {
        for (index, family) in FAMILIES.iter().enumerate() {
            assert_eq!(family.metric as usize, index);
            let name = family.name;
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert!(!name.ends_with("_total"), "{name}");
            assert!(["tracer_", "process_", "http_"].iter().any(|prefix| name.starts_with(prefix)), "{name}");
            assert_eq!(family.kind == Kind::Histogram, name.ends_with("duration_seconds"), "{name}");
            assert_eq!(FAMILIES.iter().filter(|other| other.name == name).count(), 1, "{name}");
            let mut labels: Vec<_> = family.labels.iter().map(|label| label.name).collect();
            labels.sort_unstable();
            labels.dedup();
            assert_eq!(labels.len(), family.labels.len(), "{name}");
        }
    }

    #[test]
    fn the_kernel_has_every_boundary() {
        for bound in DURATION_BOUNDS {
            assert!(LATENCY_BOUNDS_NS.contains(&((bound * 1e9).round() as u64)), "{bound}");
        }
    }
}
