//! Where do failures arise?

use super::expr::{AGENT, count, counts, rate, share, top, total, totals};
use super::model::{Dashboard, Panel, Unit, Variable, row};

const NAMESPACE: &[Variable] = &[Variable {
    name: "namespace",
    title: "Namespace",
    metric: "tracer_incidents_total",
    matchers: r#"job=~"$job",instance=~"$instance""#,
    label: "namespace",
    multi: true,
}];

const HERE: &str = r#"job=~"$job",instance=~"$instance",namespace=~"$namespace""#;

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        name: "overview",
        title: "Overview",
        about: "Where in the cluster failures arise, and why: each incident counts for its cause and its origin, not for everyone that it went through.",
        variables: NAMESPACE,
        rows: vec![
            row("In this time", numbers()),
            row("Where failures arise", incidents()),
            row("What is seen on the way", signals()),
        ],
    }
}

fn numbers() -> [Panel; 4] {
    [
        Panel::stat("Failures explained", "Failures with a cause and an origin, in the chosen time.", Unit::Count)
            .show(total("tracer_incidents_total", &format!(r#"{HERE},cause!="unknown""#)), "explained"),
        Panel::stat("Unknown", "Failures that were seen and not explained, in the chosen time.", Unit::Count)
            .show(total("tracer_incidents_total", &format!(r#"{HERE},cause="unknown""#)), "unknown"),
        Panel::stat(
            "Failing requests",
            "Part of the answered requests that failed with a 5xx, or got no answer.",
            Unit::Share,
        )
        .show(share("job", "http_server_request_duration_seconds_count", HERE, r#"error_type!="""#), "failing"),
        Panel::stat("Agents", "Nodes whose agent Prometheus reads.", Unit::Count)
            .show(format!("count(tracer_build_info{{{AGENT}}})"), "agents"),
    ]
}

fn incidents() -> [Panel; 6] {
    let origins = "cause, namespace, workload";
    [
        Panel::bars(
            "By cause",
            "How many failures each cause made. docs/causes.md says what each means and what to do.",
        )
        .show(counts("cause", "tracer_incidents_total", HERE), "{{cause}}"),
        Panel::bars("By origin", "Whose failures they are: the workload or Service that failed on its own account.")
            .show(top(&counts("namespace, workload", "tracer_incidents_total", HERE)), "{{namespace}} {{workload}}"),
        Panel::table(
            "Top origins",
            "Look here first: what fails most, and why. The links lead to the cause's page and to the workload.",
        )
        .show(totals(origins, "tracer_incidents_total", HERE), ""),
        Panel::table(
            "Failing paths",
            "Who suffers from whom: the outermost hop that was seen, and where the failure arose.",
        )
        .show(
            totals("affected_namespace, affected_workload, namespace, workload, cause", "tracer_incidents_total", HERE),
            "",
        ),
        Panel::bars("By cause and origin", "Which cause each workload or Service has, over time.")
            .show(top(&counts(origins, "tracer_incidents_total", HERE)), "{{cause}}: {{namespace}} {{workload}}"),
        Panel::bars("By symptom", "How the failures showed.")
            .show(counts("symptom", "tracer_incidents_total", HERE), "{{symptom}}"),
    ]
}

fn signals() -> [Panel; 4] {
    let failing =
        rate("namespace, workload", "http_server_request_duration_seconds_count", &format!(r#"{HERE},error_type!="""#));
    let lookups = count("tracer_dns_lookups_total", &format!(r#"{HERE},outcome!="noerror""#), "$__rate_interval");
    [
        Panel::lines(
            "Failing requests by workload",
            "Requests that the workload answered with a 5xx, or not at all.",
            Unit::RequestsPerSecond,
        )
        .show(top(&failing), "{{namespace}} {{workload}}"),
        Panel::bars("Failed connects", "TCP connects that failed, each attempt, by reason.")
            .show(counts("reason", "tracer_connect_failures_total", HERE), "{{reason}}"),
        Panel::bars(
            "Failed lookups",
            "DNS queries without a good answer, by what became of them. NXDOMAIN is often a search path at work.",
        )
        .show(format!("sum by (outcome) ({lookups})"), "{{outcome}}"),
        Panel::bars("Dropped packets", "Packets that the kernel dropped, by its reason.")
            .show(counts("reason", "tracer_drops_total", HERE), "{{reason}}"),
    ]
}
