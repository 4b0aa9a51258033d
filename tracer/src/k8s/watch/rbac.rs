//! The least role that the watch needs, from the table of what it follows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::kinds::KINDS;

/// Says who writes the file.
const HEAD: &str = "\
# What the tracer reads of the cluster, and nothing else. Made from the kinds that it watches
# (tracer/src/k8s/watch/kinds.rs) by `cargo test -p tracer rbac`; a kind that is taken out of it is missing in the verdicts, with a note.
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: tracer
  labels:
    app.kubernetes.io/name: tracer
rules:
";

/// The ClusterRole as YAML.
pub fn cluster_role() -> String {
    let mut groups: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for kind in KINDS {
        groups.entry(kind.group).or_default().insert(kind.plural);
    }
    let mut yaml = HEAD.to_owned();
    for (group, resources) in groups {
        // Writing to a string cannot fail.
        write!(
            yaml,
            "- apiGroups: [\"{group}\"]\n  resources: [{}]\n  verbs: [\"list\", \"watch\"]\n",
            resources.iter().map(|resource| format!("\"{resource}\"")).collect::<Vec<_>>().join(", ")
        )
        .ok();
    }
    yaml
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes what is checked in; continuous integration fails if that made a difference.
    #[test]
    fn rbac_is_written_to_deploy() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/cluster-role.yaml");
        let role = cluster_role();
        if std::fs::read_to_string(&file).ok().as_deref() != Some(&role) {
            std::fs::write(&file, &role).unwrap();
        }
        let parsed: serde_json::Value = serde_saphyr::from_str(&role).unwrap();
        let rules = parsed["rules"].as_array().unwrap();
        let granted: usize = rules.iter().map(|rule| rule["resources"].as_array().unwrap().len()).sum();
        assert_eq!(granted, KINDS.iter().map(|kind| (kind.group, kind.plural)).collect::<BTreeSet<_>>().len());
        assert!(rules.iter().all(|rule| rule["verbs"] == serde_json::json!(["list", "watch"])));
    }
}
