use std::collections::{BTreeMap, BTreeSet};

use super::model::Dashboard;
use super::{all, json};
use crate::cargo;

/// Labels that Prometheus adds.
const OF_PROMETHEUS: &[&str] = &["job", "instance", "le"];

fn exprs(dashboard: &Dashboard) -> impl Iterator<Item = &str> {
    let panels = dashboard.rows.iter().flat_map(|row| &row.panels);
    panels.flat_map(|panel| &panel.targets).map(|target| target.expr.as_str())
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

fn is_metric(word: &str) -> bool {
    ["tracer_", "http_server_", "http_client_", "process_"].iter().any(|start| word.starts_with(start))
}

/// Metrics and their labels, as the reference has them.
fn reference() -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string(cargo::root().join("docs/metrics.md")).unwrap();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut metric = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("## `") {
            name.trim_end_matches('`').clone_into(&mut metric);
            found.entry(metric.clone()).or_default();
        } else if let Some(label) = line.strip_prefix("| `") {
            let label = label.split('`').next().unwrap().to_owned();
            found.get_mut(&metric).unwrap().insert(label);
        }
    }
    assert!(found.len() > 20, "{found:?}");
    found
}

fn base(word: &str) -> &str {
    let histogram = ["_bucket", "_count", "_sum"].iter().find_map(|end| word.strip_suffix(end));
    histogram.filter(|name| name.ends_with("_seconds")).unwrap_or(word)
}

#[test]
fn queries_name_metrics_and_labels_that_exist() {
    let reference = reference();
    for dashboard in all() {
        for expr in exprs(&dashboard) {
            let metrics: Vec<_> = words(expr).filter(|word| is_metric(word)).map(base).collect();
            assert!(!metrics.is_empty(), "{expr}");
            let mut labels: BTreeSet<&str> = OF_PROMETHEUS.iter().copied().collect();
            for metric in metrics {
                let known = reference.get(metric).unwrap_or_else(|| panic!("no metric {metric}: {expr}"));
                labels.extend(known.iter().map(String::as_str));
            }
            let grouped = expr.split("by (").skip(1).filter_map(|rest| rest.split(')').next());
            let matched = expr.split('{').skip(1).filter_map(|rest| rest.split('}').next());
            let names = grouped.flat_map(|list| list.split(',')).map(str::trim).map(str::to_owned);
            let matchers = matched.flat_map(|list| list.split("\",")).filter(|matcher| !matcher.is_empty());
            let matchers = matchers.map(|matcher| matcher.split(['=', '!']).next().unwrap().to_owned());
            for name in names.chain(matchers) {
                assert!(labels.contains(name.as_str()), "no label `{name}`: {expr}");
            }
        }
    }
}

#[test]
fn every_metric_is_shown_somewhere() {
    let shown: String = all().iter().flat_map(exprs).collect::<Vec<_>>().join("\n");
    let shown: BTreeSet<&str> = words(&shown).map(base).collect();
    // Not worth a graph.
    const LEFT_OUT: &[&str] = &["process_virtual_memory_bytes"];
    let hidden: Vec<_> = reference().into_keys().filter(|name| !shown.contains(name.as_str())).collect();
    assert_eq!(hidden, LEFT_OUT);
}

#[test]
fn panels_say_what_they_show() {
    for dashboard in all() {
        let mut titles = BTreeSet::new();
        for panel in dashboard.rows.iter().flat_map(|row| &row.panels) {
            assert!(panel.about.ends_with('.') && !panel.title.is_empty(), "{}", panel.title);
            assert!(!panel.targets.is_empty(), "{} asks nothing", panel.title);
            assert!(titles.insert(panel.title), "{} twice", panel.title);
        }
        assert!(dashboard.about.ends_with('.'));
    }
}

#[test]
fn spans_are_grafanas() {
    for expr in all().iter().flat_map(exprs) {
        let spans = expr.split('[').skip(1).filter_map(|rest| rest.split(']').next());
        assert!(spans.into_iter().all(|span| ["$__rate_interval", "$__range"].contains(&span)), "{expr}");
        assert!(expr.contains(r#"job=~"$job",instance=~"$instance""#), "{expr}");
    }
}

#[test]
fn what_is_checked_in_is_what_is_generated() {
    for dashboard in all() {
        let path = cargo::root().join("deploy/grafana").join(format!("{}.json", dashboard.name));
        let stored = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(stored == json::text(&dashboard).unwrap(), "{}: cargo xtask dashboards", path.display());
    }
}
