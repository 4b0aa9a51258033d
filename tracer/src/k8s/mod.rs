//! Cluster state: the snapshot, where it comes from, and NetworkPolicy evaluation.
//!
//! All but `watch` is pure: no clock, no network, no threads. [`dump`] reads the files it is given; `watch`, of the feature
//! `kube`, follows an API server and turns what it says into the same [`model`]'s objects.

pub mod cgroup;
pub mod dump;
pub mod model;
pub mod policy;
pub mod snapshot;
#[cfg(feature = "kube")]
pub mod watch;

pub use model::Protocol;
pub use snapshot::{AddressOwner, Snapshot, Workload};
