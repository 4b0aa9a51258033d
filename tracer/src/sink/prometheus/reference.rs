//! `docs/metrics.md`, generated from the catalogue.

use std::fmt::Write;

use super::catalog::{DURATION_BOUNDS, FAMILIES, Kind, Label, OptIn};

const HEAD: &str = "\
<!-- Generated: `cargo run -p tracer -- metrics > docs/metrics.md`; a test compares. -->
# Metrics

What `tracer agent` serves at `/metrics`: OpenMetrics if the reader asks for it (Prometheus does), else the text format.
A metric appears with its first value. All times are in seconds, all sizes in bytes.

- **Whose.** `namespace` and `workload` say whose a series is; an empty label is absent. Inside the cluster Prometheus adds
  labels of the same name for the scraped pod, so scrape with `honorLabels: true`.
- **Opt-in labels** (*opt-in* below) need `metrics.labels` in the [configuration](configuration.md): `pod`, `peer`.
- **Limits.** A metric has at most `metrics.series_limit` label sets (1000 by default; a histogram's label set is
  HISTOGRAM time series, any other's is one). What comes beyond is counted in overflow series: unbounded labels are
  `_other`, the labels marked *bounded* keep their value, so sums over them stay right, and there is one for each
  combination of those. `tracer_series_overflow_total` says that it happened. Paths, URLs, host names and client addresses
  are never labels.
- **Ends.** The series of a workload that was deleted go five minutes after its last event; any series goes after
  `metrics.idle` without one. A counter that comes back begins at zero.
- **A new counter begins with its first count**, not with zero: `increase()` doesn't see the first one. Where that matters,
  ask for `x unless x offset 5m` beside `increase(x[5m])`.
";

/// The document.
pub fn markdown() -> String {
    let mut text = HEAD.replace("HISTOGRAM", &(DURATION_BOUNDS.len() + 3).to_string());
    let bounds: Vec<_> = DURATION_BOUNDS.iter().map(ToString::to_string).collect();
    let _infallible = writeln!(text, "- **Histograms** have the boundaries {}: OpenTelemetry's.", bounds.join(", "));
    for family in FAMILIES {
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _infallible = write!(text, "\n## `{}`\n\n{kind}: {}.\n", family.full_name(), family.help);
        if !family.labels.is_empty() {
            text.push_str("\n| label | | |\n|---|---|---|\n");
        }
        for Label { name, about, bounded, opt_in } in family.labels {
            let property = match opt_in {
                Some(OptIn::Pod) => "opt-in: `pod`",
                Some(OptIn::Peer) => "opt-in: `peer`",
                None if *bounded => "bounded",
                None => "",
            };
            let _infallible = writeln!(text, "| `{name}` | {} | {property} |", about.replace('|', "\\|"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_document_that_is_checked_in_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        assert!(
            std::fs::read_to_string(path).unwrap() == super::markdown(),
            "regenerate it: cargo run -p tracer -- metrics > docs/metrics.md"
        );
    }
}
