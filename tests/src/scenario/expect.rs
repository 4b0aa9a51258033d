//! Comparing incidents with what was expected.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{capture::Incidents, cluster::Plan};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    pub cause: String,
    /// Fields of `cause.origin`; variables as in [`Plan::expand`].
    pub origin: BTreeMap<String, String>,
    /// `namespace/workload` (or a Service, an address, a DNS name) of every hop; with `?` at its end it may be absent.
    pub path: Vec<String>,
    #[serde(default)]
    pub symptom: BTreeMap<String, Value>,
    /// Kind of evidence to what some evidence of that kind must hold somewhere.
    #[serde(default)]
    pub evidence: BTreeMap<String, String>,
}

impl Expected {
    /// With the variables replaced.
    pub fn expanded(&self, plan: &Plan) -> Result<Self> {
        let origin = self.origin.iter().map(|(field, value)| Ok((field.clone(), plan.expand(value)?)));
        let path = self.path.iter().map(|hop| plan.expand(hop));
        Ok(Self { origin: origin.collect::<Result<_>>()?, path: path.collect::<Result<_>>()?, ..self.clone() })
    }

    /// What is different; nothing if the incident is the expected one.
    pub fn differences(&self, plan: &Plan, incident: &Value) -> Result<Vec<String>> {
        let Self { cause, origin, path, symptom, evidence } = self;
        let mut differences = vec![];
        let mut compare = |what: String, expected: &Value, found: &Value| {
            if expected != found {
                differences.push(format!("{what} is {found}, expected {expected}"));
            }
        };
        compare("cause".into(), &Value::from(cause.as_str()), &incident["cause"]["id"]);
        for (field, expected) in origin {
            let expected = Value::from(plan.expand(expected)?);
            compare(format!("origin.{field}"), &expected, &incident["cause"]["origin"][field]);
        }
        for (field, expected) in symptom {
            compare(format!("symptom.{field}"), expected, &incident["symptom"][field]);
        }
        for (kind, expected) in evidence {
            let all = incident["evidence"].as_array().map_or(&[][..], Vec::as_slice);
            if !all.iter().any(|found| found["kind"] == kind.as_str() && found.to_string().contains(expected)) {
                differences.push(format!("no evidence of kind {kind} holds \"{expected}\""));
            }
        }
        let expected = path.iter().map(|hop| plan.expand(hop)).collect::<Result<Vec<_>>>()?;
        let hops = incident["path"].as_array().map_or(&[][..], Vec::as_slice);
        if !path_matches(&expected, hops) {
            let found: Vec<_> = hops.iter().map(|hop| hop_names(hop).join("|")).collect();
            differences.push(format!("path is {}, expected {}", found.join(" > "), expected.join(" > ")));
        }
        Ok(differences)
    }
}

/// Why the incidents aren't the expected ones; nothing if they are.
pub fn problems(plan: &Plan, expected: &[Expected], allow_unknown: bool, incidents: &Incidents) -> Result<Vec<String>> {
    let mut problems = vec![];
    let mut blamed = vec![];
    for incident in incidents.iter() {
        let mut differences = expected.iter().map(|e| e.differences(plan, incident)).collect::<Result<Vec<_>>>()?;
        if let Some(which) = differences.iter().position(Vec::is_empty) {
            if !allow_unknown && blamed.contains(&which) {
                problems.push(format!("told as two incidents: {incident}"));
            }
            blamed.push(which);
        } else if let Some(which) = allow_unknown.then(|| inner(plan, expected, incident)).transpose()?.flatten() {
            blamed.push(which);
        } else if !(allow_unknown && incident["cause"]["id"] == "unknown") {
            differences.sort_by_key(Vec::len);
            let closest = differences.first().map(|d| d.join("; ")).unwrap_or_else(|| "nothing was expected".into());
            problems.push(format!("unexpected incident: {closest}\n    {incident}"));
        }
    }
    for (which, expected) in expected.iter().enumerate() {
        if !blamed.contains(&which) {
            let mut text = format!("missing incident: {}", serde_json::to_string(expected)?);
            if incidents.iter().next().is_none() {
                let _ = write!(text, " (no incident was printed)");
            }
            problems.push(text);
        }
    }
    Ok(problems)
}

/// Coverage notes that should be there and aren't, and one that shouldn't: a kind that isn't installed has no objects.
pub fn note_problems(notes: &[String], incidents: &Incidents) -> Vec<String> {
    let all: Vec<String> = incidents.iter().map(|incident| incident["coverage"]["notes"].to_string()).collect();
    let missing = notes.iter().filter(|note| !all.iter().any(|text| text.contains(note.as_str())));
    let missing = missing.map(|note| format!("no coverage note says \"{note}\"; there are {all:?}"));
    let idle = all.iter().find(|text| text.contains("not in this cluster"));
    missing.chain(idle.map(|text| format!("nothing is missing, but a note says so: {text}"))).collect()
}

/// Where the outer requests can't be told apart, the inner hops of the same failure are told on their own: the same cause
/// and origin, and a path that is the end of the expected one.
fn inner(plan: &Plan, expected: &[Expected], incident: &Value) -> Result<Option<usize>> {
    for (which, expected) in expected.iter().enumerate() {
        if is_inner(plan, expected, incident)? {
            return Ok(Some(which));
        }
    }
    Ok(None)
}

/// Whether the incident is that of an inner hop of what was expected.
pub fn is_inner(plan: &Plan, expected: &Expected, incident: &Value) -> Result<bool> {
    for from in 1..expected.path.len() {
        let path = expected.path[from..].to_vec();
        let part = Expected { path, symptom: BTreeMap::new(), ..expected.clone() };
        if part.differences(plan, incident)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether every expectation is met already.
pub fn all_seen(plan: &Plan, expected: &[Expected], incidents: &Incidents) -> bool {
    expected.iter().all(|expected| find(plan, expected, incidents).is_some())
}

/// The incident that meets the expectation.
#[must_use]
pub fn find<'a>(plan: &Plan, expected: &Expected, incidents: &'a Incidents) -> Option<&'a Value> {
    incidents.iter().find(|incident| expected.differences(plan, incident).is_ok_and(|d| d.is_empty()))
}

fn path_matches(expected: &[String], hops: &[Value]) -> bool {
    let Some((first, rest)) = expected.split_first() else { return hops.is_empty() };
    if let Some(optional) = first.strip_suffix('?')
        && (path_matches(rest, hops) || hops.first().is_some_and(|hop| hop_names(hop).iter().any(|n| n == optional)))
    {
        return path_matches(rest, hops) || path_matches(rest, &hops[1..]);
    }
    let Some((hop, others)) = hops.split_first() else { return false };
    hop_names(hop).contains(first) && path_matches(rest, others)
}

/// The names a hop may go by.
fn hop_names(hop: &Value) -> Vec<String> {
    let text = |field: &str| hop[field].as_str().unwrap_or_default();
    let mut names = vec![];
    let workload = text("workload").rsplit('/').next().unwrap_or_default();
    if !workload.is_empty() {
        names.push(format!("{}/{workload}", text("namespace")));
    }
    names.extend(
        ["service", "name", "address"].map(|field| text(field).to_owned()).into_iter().filter(|n| !n.is_empty()),
    );
    names
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn path(expected: &[&str], hops: &Value) -> bool {
        let expected: Vec<_> = expected.iter().map(|hop| (*hop).to_owned()).collect();
        path_matches(&expected, hops.as_array().unwrap())
    }

    #[test]
    fn paths_match_by_workload_or_service_and_with_optional_hops() {
        let hops = json!([
            {"namespace": "shop", "workload": "Job/client"},
            {"namespace": "shop", "workload": "Deployment/cart", "service": "shop/cart-service"},
            {"service": "kube-system/kube-dns"},
        ]);
        assert!(path(&["shop/client", "shop/cart", "kube-system/kube-dns?"], &hops));
        assert!(path(&["shop/client", "shop/cart-service", "kube-system/kube-dns"], &hops));
        assert!(!path(&["shop/client", "shop/cart"], &hops));
        assert!(path(&["shop/client", "other/hop?", "shop/cart", "kube-system/kube-dns"], &hops));
        assert!(path(&["shop/client", "x/y?"], &json!([{"namespace": "shop", "workload": "Job/client"}])));
        assert!(!path(&["shop/cart", "shop/client", "kube-system/kube-dns"], &hops));
    }
}
