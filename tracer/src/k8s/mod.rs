//! Cluster state: the snapshot, where it comes from, and NetworkPolicy evaluation.
