//! Queries that several dashboards ask alike.

/// The chosen agents.
pub(super) const AGENT: &str = r#"job=~"$job",instance=~"$instance""#;
/// The chosen workloads, of the chosen agents.
pub(super) const OWNER: &str = r#"job=~"$job",instance=~"$instance",namespace=~"$namespace",workload=~"$workload""#;

/// How often a counter's events happened in a span.
///
/// A counter begins with its first event, which `increase()` doesn't see: a series that wasn't there before the span has
/// its whole value from within it.
pub(super) fn count(metric: &str, matchers: &str, span: &str) -> String {
    let series = format!("{metric}{{{matchers}}}");
    format!("(({series} unless {series} offset {span}) or increase({series}[{span}]))")
}

/// The same for each interval of a graph.
pub(super) fn counts(by: &str, metric: &str, matchers: &str) -> String {
    format!("sum by ({by}) ({})", count(metric, matchers, "$__rate_interval"))
}

/// The same for the whole range, largest first.
pub(super) fn totals(by: &str, metric: &str, matchers: &str) -> String {
    format!("sort_desc(topk(50, sum by ({by}) ({})) >= 0.5)", count(metric, matchers, "$__range"))
}

/// One number for the whole range.
pub(super) fn total(metric: &str, matchers: &str) -> String {
    format!("sum({}) or vector(0)", count(metric, matchers, "$__range"))
}

pub(super) fn rate(by: &str, metric: &str, matchers: &str) -> String {
    format!("sum by ({by}) (rate({metric}{{{matchers}}}[$__rate_interval]))")
}

/// What part of a counter the matchers after `bad` are.
pub(super) fn share(by: &str, metric: &str, matchers: &str, bad: &str) -> String {
    let (part, whole) = (rate(by, metric, &format!("{matchers},{bad}")), rate(by, metric, matchers));
    format!("({part} or 0 * {whole}) / ({whole} > 0)")
}

pub(super) fn quantile(q: &str, by: &str, metric: &str, matchers: &str) -> String {
    let by = if by.is_empty() { "le".to_owned() } else { format!("le, {by}") };
    format!("histogram_quantile({q}, {})", rate(&by, &format!("{metric}_bucket"), matchers))
}

pub(super) fn top(expr: &str) -> String {
    format!("topk(10, {expr})")
}
