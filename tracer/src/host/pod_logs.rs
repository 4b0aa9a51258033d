//! Pod names without an API: the kubelet's log directories are `/var/log/pods/NAMESPACE_NAME_UID/CONTAINER/`.

use std::path::Path;

use rustc_hash::FxHashMap;

use super::HostRoot;

/// A pod with a log directory on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    /// Sorted.
    pub containers: Vec<String>,
}

/// Pods by UID; empty where there is no such directory.
pub fn read(root: &HostRoot) -> FxHashMap<String, Pod> {
    let mut pods = FxHashMap::default();
    for entry in directories(&root.path("/var/log/pods")) {
        let Some((namespace, name, uid)) = entry.file_name().and_then(|name| parse_name(name.to_str()?)) else {
            continue;
        };
        let mut containers: Vec<String> =
            directories(&entry).filter_map(|container| Some(container.file_name()?.to_str()?.to_owned())).collect();
        containers.sort_unstable();
        pods.insert(uid.to_owned(), Pod { namespace: namespace.into(), name: name.into(), containers });
    }
    pods
}

/// Neither namespaces, names nor UIDs hold underscores.
fn parse_name(directory: &str) -> Option<(&str, &str, &str)> {
    let mut parts = directory.split('_');
    let parsed = (parts.next()?, parts.next()?, parts.next()?);
    (parts.next().is_none() && !parsed.2.is_empty()).then_some(parsed)
}

pub(super) fn directories(path: &Path) -> impl Iterator<Item = std::path::PathBuf> {
    std::fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_of_a_node() {
        let root = tempfile::tempdir().unwrap();
        let pods = root.path().join("var/log/pods");
        for path in ["shop_redis-0_0a1b-2c/redis", "shop_redis-0_0a1b-2c/exporter", "stray", "a_b_c_d"] {
            std::fs::create_dir_all(pods.join(path)).unwrap();
        }
        let found = read(&HostRoot::new(root.path()));
        assert_eq!(found.len(), 1);
        let pod = &found["0a1b-2c"];
        assert_eq!((pod.namespace.as_str(), pod.name.as_str()), ("shop", "redis-0"));
        assert_eq!(pod.containers, ["exporter", "redis"]);
        assert!(read(&HostRoot::new("/nonexistent")).is_empty());
    }
}
