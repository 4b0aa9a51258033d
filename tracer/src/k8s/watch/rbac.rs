//! The least role that the watch needs, from the table of what it follows.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::kinds::KINDS;

/// Says who writes the file.
const HEAD: &str = "\
# What the tracer reads of the cluster, and nothing else. Made by `cargo xtask rbac` from the kinds that it watches
# (tracer/src/k8s/watch/kinds.rs); a kind that is taken out of it is missing in the verdicts, with a note.
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
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for kind in KINDS {
        groups.entry(kind.group).or_default().push(kind.plural);
    }
    let mut yaml = HEAD.to_owned();
    for (group, mut resources) in groups {
        resources.sort_unstable();
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
