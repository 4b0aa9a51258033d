//! Facts read from the node: cgroup paths, /proc, /var/log/pods.
