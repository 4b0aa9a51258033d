//! The end of a capture: how much was seen, and what wasn't.

use std::io::{self, Write};

use anstyle::Style;

use super::layout::{columns, cut, duration, keyword};
use crate::sink::escape::escape;
use crate::sink::line::{CoverageLine, Summary, WorkloadSummary};

const BOLD: Style = Style::new().bold();
const LONGEST_NAME: usize = 60;

pub(super) fn summary(out: &mut impl Write, summary: &Summary) -> io::Result<()> {
    let Summary { duration_s, requests, failures, incidents, workloads } = summary;
    write!(out, "{BOLD}{}{BOLD:#}", duration(duration_s * 1000.0))?;
    if let Some(requests) = requests {
        write!(out, "  {requests} requests")?;
    }
    writeln!(out, "  {failures} failed")?;
    if incidents.is_empty() {
        writeln!(out, "no incident")?;
    }
    let mut causes: Vec<_> = incidents.iter().collect();
    causes.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
    for (cause, count) in causes {
        writeln!(out, "  {count:>7}  {}", escape(cause))?;
    }
    if workloads.is_empty() { Ok(()) } else { table(out, workloads) }
}

fn table(out: &mut impl Write, workloads: &[WorkloadSummary]) -> io::Result<()> {
    let names: Vec<String> = workloads.iter().map(|workload| cut(&name(workload), LONGEST_NAME)).collect();
    let width = names.iter().map(|name| columns(name)).max().unwrap_or(0).max("workload".len());
    writeln!(
        out,
        "\n  {BOLD}{:width$}  {:6}  {:>9}  {:>7}  {:>8}  {:>8}  {:>8}{BOLD:#}",
        "workload", "end", "requests", "errors", "p50", "p90", "p99"
    )?;
    for (workload, name) in workloads.iter().zip(&names) {
        let WorkloadSummary { role, requests, errors, latency_ms, .. } = workload;
        let [p50, p90, p99] = latency_ms
            .map_or([const { String::new() }; 3], |latency| [latency.p50, latency.p90, latency.p99].map(duration));
        let line = format!("  {name:width$}  {role:6}  {requests:>9}  {errors:>7}  {p50:>8}  {p90:>8}  {p99:>8}");
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn name(workload: &WorkloadSummary) -> String {
    let WorkloadSummary { namespace, workload, process, cgroup, .. } = workload;
    let known = workload.as_ref().map(|name| match namespace {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.clone(),
    });
    let known = known.or_else(|| process.clone()).or_else(|| cgroup.clone()).unwrap_or_else(|| "?".to_owned());
    escape(&known).into_owned()
}

pub(super) fn coverage(out: &mut impl Write, coverage: &CoverageLine, width: Option<usize>) -> io::Result<()> {
    let CoverageLine { lost_events, opaque_tls_processes, joined_connections, lost, notes } = coverage;
    writeln!(out)?;
    let mut text = format!("{lost_events} events lost");
    if !lost.is_empty() {
        let places: Vec<_> = lost.iter().map(|(place, count)| format!("{place} {count}")).collect();
        text += &format!(" ({})", places.join(", "));
    }
    if *opaque_tls_processes > 0 {
        text += &format!(" · {opaque_tls_processes} with opaque TLS");
    }
    if *joined_connections > 0 {
        text += &format!(" · {joined_connections} connections joined in the middle");
    }
    keyword(out, "coverage", &text, width)?;
    notes.iter().try_for_each(|note| keyword(out, "", &escape(note), width))
}
