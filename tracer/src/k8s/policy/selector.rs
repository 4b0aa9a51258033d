//! Label selectors, and the labels of namespaces.

use std::borrow::Cow;

use crate::k8s::Snapshot;
use crate::k8s::model::{LabelSelector, Labels, Operator};

/// Set by the API server on every namespace, and not to be changed.
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Whether a selector selects an object with these labels. All conditions must hold; an empty selector has none.
pub fn selector_matches(selector: &LabelSelector, labels: &Labels) -> bool {
    let LabelSelector { match_labels, match_expressions } = selector;
    match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
        && match_expressions.iter().all(|requirement| {
            let found = labels.get(&requirement.key);
            let listed = found.is_some_and(|value| requirement.values.iter().any(|listed| listed == value));
            match requirement.operator {
                Operator::In => listed,
                // Also true of an object without the label.
                Operator::NotIn => !listed,
                Operator::Exists => found.is_some(),
                Operator::DoesNotExist => found.is_none(),
            }
        })
}

/// The labels of a namespace, with the implicit one. A namespace whose object is not in the snapshot has only that.
pub(super) fn namespace_labels<'a>(snapshot: &'a Snapshot, name: &str) -> Cow<'a, Labels> {
    let known = snapshot.namespace(name).map(|namespace| &namespace.metadata.labels);
    match known {
        Some(labels) if labels.contains_key(NAMESPACE_NAME_LABEL) => Cow::Borrowed(labels),
        known => Cow::Owned(known.cloned().unwrap_or_default().with(NAMESPACE_NAME_LABEL, name)),
    }
}

/// Whether a selector looks at more than the implicit label, so that the namespace's object must be known to decide.
pub(super) fn needs_namespace_object(selector: &LabelSelector) -> bool {
    let LabelSelector { match_labels, match_expressions } = selector;
    let keys = match_labels.iter().map(|(key, _)| key);
    keys.chain(match_expressions.iter().map(|r| r.key.as_str())).any(|key| key != NAMESPACE_NAME_LABEL)
}
