//! Prometheus' rules, and every query of the dashboards, asked of Prometheus' own checker.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::{cargo, dashboards};

pub(super) fn check() -> Result<()> {
    let promtool = || cargo::program(Path::new("promtool"));
    cargo::run(promtool().args(["check", "rules", "--lint-fatal", "deploy/prometheus/rules.yaml"]))?;
    cargo::run(promtool().args(["test", "rules", "deploy/prometheus/tests.yaml"]))?;
    // It takes no bare queries, but rules.
    let path = cargo::target_dir().join("queries.yaml");
    fs::write(&path, queries()).with_context(|| path.display().to_string())?;
    cargo::run(promtool().args(["check", "rules", "--lint", "none"]).arg(&path)).context("queries of the dashboards")
}

/// The dashboards' queries as rules, with Grafana's variables filled in.
fn queries() -> String {
    let mut text = "groups:\n- name: dashboards\n  rules:\n".to_owned();
    for dashboard in dashboards::all() {
        let panels = dashboard.rows.iter().flat_map(|row| &row.panels);
        for (number, target) in panels.flat_map(|panel| &panel.targets).enumerate() {
            let expr = target.expr.replace("$__rate_interval", "5m").replace("$__range", "1h");
            // Writing to a string can't fail.
            let _infallible = writeln!(text, "  - record: {}:{number}\n    expr: >-\n      {expr}", dashboard.name);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;

    fn rules() -> Vec<Value> {
        let text = fs::read_to_string(cargo::root().join("deploy/prometheus/rules.yaml")).unwrap();
        let file: Value = serde_saphyr::from_str(&text).unwrap();
        let groups = file["groups"].as_array().unwrap().clone();
        groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
    }

    fn headings(document: &str) -> Vec<String> {
        let text = fs::read_to_string(cargo::root().join("docs").join(document)).unwrap();
        let headings = text.lines().filter_map(|line| line.strip_prefix("## ").or(line.strip_prefix("### ")));
        let anchor = |c: char| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c.to_ascii_lowercase()),
            _ => None,
        };
        headings.map(|heading| heading.chars().filter_map(anchor).collect()).collect()
    }

    #[test]
    fn every_cause_has_one_alert() {
        let mut alerts: BTreeMap<String, u32> = BTreeMap::new();
        for rule in rules() {
            let expr = rule["expr"].as_str().unwrap();
            let causes = expr.split("cause=~\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
            for cause in causes.split('|').filter(|cause| !cause.is_empty()) {
                *alerts.entry(cause.to_owned()).or_default() += 1;
            }
        }
        let text = fs::read_to_string(cargo::root().join("docs/causes.md")).unwrap();
        // An id is one word; other sections are sentences.
        for cause in text.lines().filter_map(|line| line.strip_prefix("## ")).filter(|cause| !cause.contains(' ')) {
            assert_eq!(alerts.get(cause), Some(&1), "{cause}");
        }
        assert!(alerts.values().all(|count| *count == 1), "{alerts:?}");
    }

    #[test]
    fn runbooks_exist() {
        let mut checked = 0;
        for rule in rules().iter().filter(|rule| rule["alert"].is_string()) {
            let url = rule["annotations"]["runbook_url"].as_str().unwrap();
            let place = url.strip_prefix(dashboards::DOCS).unwrap().trim_start_matches('/');
            let (document, anchor) = place.split_once('#').unwrap_or((place, ""));
            let known = headings(document);
            assert!(
                anchor.is_empty() || anchor.starts_with("{{") || known.iter().any(|known| known == anchor),
                "{url}"
            );
            checked += 1;
        }
        assert!(checked > 15, "{checked}");
    }

    #[test]
    fn the_chart_has_nobodys_address_for_documents_too() {
        let values = fs::read_to_string(cargo::root().join("deploy/helm/tracer/values.yaml")).unwrap();
        assert!(values.contains(&format!("docsUrl: {}\n", dashboards::DOCS)));
    }
}
