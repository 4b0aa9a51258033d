//! One workload: its requests, what it depends on, what went wrong.

use super::expr::{OWNER, counts, quantile, rate, share, totals};
use super::model::{Dashboard, Panel, Unit, Variable, row};

const WORKLOAD: &[Variable] = &[
    Variable {
        name: "namespace",
        title: "Namespace",
        metric: "http_server_request_duration_seconds_count",
        matchers: r#"job=~"$job",instance=~"$instance""#,
        label: "namespace",
        multi: false,
    },
    Variable {
        name: "workload",
        title: "Workload",
        metric: "http_server_request_duration_seconds_count",
        matchers: r#"job=~"$job",instance=~"$instance",namespace=~"$namespace""#,
        label: "workload",
        multi: false,
    },
];

const SERVER: &str = "http_server_request_duration_seconds";
const CLIENT: &str = "http_client_request_duration_seconds";
const PEER: &str = "peer_namespace, peer_name";
const PEER_LEGEND: &str = "{{peer_namespace}} {{peer_name}}";
/// As the outermost hop of an incident, and by it.
const AFFECTED: &str =
    r#"job=~"$job",instance=~"$instance",affected_namespace=~"$namespace",affected_workload=~"$workload""#;

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        name: "service",
        title: "Service",
        about: "One workload: rate, errors and duration of its requests, what it calls and how that goes, and its incidents.",
        variables: WORKLOAD,
        rows: vec![
            row("Requests it answers", requests()),
            row("What it depends on", dependencies()),
            row("Incidents", incidents()),
        ],
    }
}

fn requests() -> [Panel; 4] {
    [
        Panel::lines(
            "Rate",
            "Requests answered, by status; without a status: those that got no answer.",
            Unit::RequestsPerSecond,
        )
        .show(rate("http_response_status_code", &format!("{SERVER}_count"), OWNER), "{{http_response_status_code}}"),
        Panel::lines(
            "Errors",
            "Part of the requests that failed: with a 5xx, a reset, or without an answer.",
            Unit::Share,
        )
        .show(share("workload", &format!("{SERVER}_count"), OWNER, r#"error_type!="""#), "failing"),
        Panel::lines("Duration", "From a request's first byte to the status line.", Unit::Seconds)
            .show(quantile("0.50", "", SERVER, OWNER), "p50")
            .show(quantile("0.90", "", SERVER, OWNER), "p90")
            .show(quantile("0.99", "", SERVER, OWNER), "p99"),
        Panel::heatmap("Durations", "How many requests took how long.")
            .show(rate("le", &format!("{SERVER}_bucket"), OWNER), "{{le}}"),
    ]
}

fn dependencies() -> [Panel; 6] {
    let calls = format!("{CLIENT}_count");
    [
        Panel::lines("Calls", "Requests that it makes, by what is called.", Unit::RequestsPerSecond)
            .show(rate(PEER, &calls, OWNER), PEER_LEGEND),
        Panel::lines(
            "Failing calls",
            "Part of its calls that failed: with a 4xx or 5xx, a reset, or without an answer.",
            Unit::Share,
        )
        .show(share(PEER, &calls, OWNER, r#"error_type!="""#), PEER_LEGEND),
        Panel::lines("Duration of calls, p99", "99 of 100 calls were answered within this.", Unit::Seconds)
            .show(quantile("0.99", PEER, CLIENT, OWNER), PEER_LEGEND),
        Panel::bars("Failed connects", "Connects of its that failed, each attempt: reason and target.").show(
            counts("reason, peer_namespace, peer_name", "tracer_connect_failures_total", OWNER),
            "{{reason}} {{peer_namespace}} {{peer_name}}",
        ),
        Panel::bars("Lookups", "Its DNS queries, by what became of them.")
            .show(counts("outcome", "tracer_dns_lookups_total", OWNER), "{{outcome}}"),
        Panel::bars("Resets", "TCP resets that it sent or received.")
            .show(counts("direction, reason", "tracer_tcp_resets_total", OWNER), "{{direction}} {{reason}}"),
    ]
}

fn incidents() -> [Panel; 4] {
    [
        Panel::bars("Arose here", "Failures whose origin is this workload, by cause. A Service without endpoints is an origin of its own: Service/NAME.")
            .show(counts("cause", "tracer_incidents_total", OWNER), "{{cause}}"),
        Panel::bars("Affected it", "Failures whose outermost hop is this workload, by where they arose.")
            .show(counts("cause, namespace, workload", "tracer_incidents_total", AFFECTED), "{{cause}} {{namespace}} {{workload}}"),
        Panel::table("All in this time", "Failures that arose here or affected it.")
            .show(totals("affected_namespace, affected_workload, namespace, workload, cause", "tracer_incidents_total", OWNER), "")
            .show(totals("affected_namespace, affected_workload, namespace, workload, cause", "tracer_incidents_total", AFFECTED), ""),
        Panel::bars("Deaths", "Its processes that were killed for memory, died by a signal, or ended with an error code while serving.")
            .show(counts("reason", "tracer_process_deaths_total", OWNER), "{{reason}}"),
    ]
}
