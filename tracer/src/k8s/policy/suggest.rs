//! A rule that would admit a denied flow, as YAML to paste.

use std::fmt::Write as _;

use super::describe::identifying_labels;
use super::evaluate::{Direction, Evaluation, Flow, Party};
use super::selector::NAMESPACE_NAME_LABEL;
use crate::k8s::Snapshot;
use crate::k8s::model::Labels;

/// The `egress:` or `ingress:` rule (both when both deny) for the `spec` of a policy that isolates the pod. Nothing when
/// the flow is allowed, or when the peer has neither labels nor an address. The rule is as narrow as labels allow, never an allow-all.
pub fn suggest_rule(snapshot: &Snapshot, flow: &Flow<'_>, evaluation: &Evaluation) -> Option<String> {
    let denied = evaluation.denied?;
    let (from, to) = (flow.from.resolve(snapshot), flow.to.resolve(snapshot));
    let mut yaml = String::new();
    if denied.includes_egress() {
        rule(&mut yaml, "egress", "to", &evaluation.egress, from, to, flow);
    }
    if denied.includes_ingress() {
        rule(&mut yaml, "ingress", "from", &evaluation.ingress, to, from, flow);
    }
    Some(yaml).filter(|yaml| !yaml.is_empty())
}

fn rule(
    yaml: &mut String,
    direction: &str,
    word: &str,
    policies: &Direction,
    subject: Party<'_>,
    peer: Party<'_>,
    flow: &Flow<'_>,
) {
    let Some(peers) = peer_lines(peer, subject) else { return };
    let policy = policies.isolated_by.last().map(ToString::to_string).unwrap_or_default();
    let pod = subject.pod().map(|pod| format!("{}/{}", pod.metadata.namespace, pod.metadata.name)).unwrap_or_default();
    let mut lines = vec![
        format!("# under spec of a NetworkPolicy that selects {pod}, such as {policy}"),
        format!("{direction}:"),
        format!("- {word}:"),
    ];
    lines.extend(peers);
    lines.push("  ports:".to_owned());
    lines.push(format!("  - port: {}", flow.port));
    lines.push(format!("    protocol: {}", flow.protocol));
    for line in lines {
        // Writing to a string cannot fail.
        writeln!(yaml, "{line}").ok();
    }
}

/// Nothing when the peer can be named by neither labels nor an address: an empty list of peers would admit everybody.
fn peer_lines(peer: Party<'_>, subject: Party<'_>) -> Option<Vec<String>> {
    let mut lines = Vec::new();
    let labels = peer.as_selectable_pod().map(identifying_labels);
    let Some((pod, labels)) = peer.as_selectable_pod().zip(labels).filter(|(_, labels)| !labels.is_empty()) else {
        // Labels can't name a node or something outside; nor a pod without labels, whose empty selector would
        // admit the whole namespace.
        for address in peer.addresses() {
            let prefix = if address.is_ipv4() { 32 } else { 128 };
            lines.push("  - ipBlock:".to_owned());
            lines.push(format!("      cidr: {address}/{prefix}"));
        }
        return Some(lines).filter(|lines| !lines.is_empty());
    };
    lines.push("  - podSelector:".to_owned());
    label_lines(&mut lines, &labels);
    let namespace = &pod.metadata.namespace;
    if subject.pod().is_none_or(|subject| subject.metadata.namespace != *namespace) {
        lines.push("    namespaceSelector:".to_owned());
        label_lines(&mut lines, &Labels::from_iter([(NAMESPACE_NAME_LABEL, namespace.as_str())]));
    }
    Some(lines)
}

fn label_lines(lines: &mut Vec<String>, labels: &Labels) {
    lines.push("      matchLabels:".to_owned());
    for (key, value) in labels.iter() {
        lines.push(format!("        {}: {}", scalar(key), scalar(value)));
    }
}

/// Label values like `true`, `1` or `on` would change their type unquoted.
fn scalar(text: &str) -> String {
    const WORDS: [&str; 10] = ["true", "false", "yes", "no", "on", "off", "null", "y", "n", "nan"];
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    if is_plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}
