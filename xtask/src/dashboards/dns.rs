//! Name resolution.

use super::expr::{OWNER, counts, quantile, rate, share, top, totals};
use super::model::{Dashboard, Panel, Unit, Variable, row};

const CHOICE: &[Variable] = &[
    Variable {
        name: "namespace",
        title: "Namespace",
        metric: "tracer_dns_lookups_total",
        matchers: r#"job=~"$job",instance=~"$instance""#,
        label: "namespace",
        multi: true,
    },
    Variable {
        name: "workload",
        title: "Workload",
        metric: "tracer_dns_lookups_total",
        matchers: r#"job=~"$job",instance=~"$instance",namespace=~"$namespace""#,
        label: "workload",
        multi: true,
    },
];

const LOOKUPS: &str = "tracer_dns_lookups_total";
const DURATION: &str = "tracer_dns_lookup_duration_seconds";
const NAMED: &str = "{{namespace}} {{workload}}";
/// NXDOMAIN is an answer: search paths ask for names that don't exist all the time.
const FAILED: &str = r#"outcome!~"noerror|nxdomain""#;

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        name: "dns",
        title: "DNS",
        about: "Lookups as the asking end saw them: answers, errors, silence, and how long they took.",
        variables: CHOICE,
        rows: vec![row("Lookups", lookups()), row("Durations", durations()), row("Failures", failures())],
    }
}

fn lookups() -> [Panel; 3] {
    [
        Panel::lines("By outcome", "DNS queries, by what became of them; timeout: no answer came.", Unit::PerSecond)
            .show(rate("outcome", LOOKUPS, OWNER), "{{outcome}}"),
        Panel::lines(
            "Failing",
            "Part of a workload's queries that had an error or no answer; NXDOMAIN isn't counted.",
            Unit::Share,
        )
        .show(top(&share("namespace, workload", LOOKUPS, OWNER, FAILED)), NAMED),
        Panel::lines("Who asks", "Queries by workload.", Unit::PerSecond)
            .wide()
            .show(top(&rate("namespace, workload", LOOKUPS, OWNER)), NAMED),
    ]
}

fn durations() -> [Panel; 2] {
    [
        Panel::lines("Duration", "From a query to its answer; unanswered ones aren't in it.", Unit::Seconds)
            .show(quantile("0.50", "", DURATION, OWNER), "p50")
            .show(quantile("0.90", "", DURATION, OWNER), "p90")
            .show(quantile("0.99", "", DURATION, OWNER), "p99"),
        Panel::heatmap("Durations", "How many lookups took how long.")
            .show(rate("le", &format!("{DURATION}_bucket"), OWNER), "{{le}}"),
    ]
}

fn failures() -> [Panel; 4] {
    let only = |outcome: &str| format!(r#"{OWNER},outcome="{outcome}""#);
    [
        Panel::bars("No answer", "Queries that nobody answered, by who asked.")
            .show(top(&counts("namespace, workload", LOOKUPS, &only("timeout"))), NAMED),
        Panel::bars("NXDOMAIN", "Names that don't exist, by who asked; much of it is search paths at work.")
            .show(top(&counts("namespace, workload", LOOKUPS, &only("nxdomain"))), NAMED),
        Panel::bars("Incidents", "Lookups that made something fail, by cause.").show(
            counts("cause", "tracer_incidents_total", r#"job=~"$job",instance=~"$instance",cause=~"dns-.*""#),
            "{{cause}}",
        ),
        Panel::table("Failed in this time", "Queries with an error or without an answer.")
            .show(totals("namespace, workload, outcome", LOOKUPS, &format!("{OWNER},{FAILED}")), ""),
    ]
}
