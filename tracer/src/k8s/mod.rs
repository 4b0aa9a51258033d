//! Cluster state: the snapshot, where it comes from, and NetworkPolicy evaluation.
//!
//! Everything here is pure: no clock, no network, no threads. [`dump`] reads the files it is given, and nothing else
//! does any IO. The live watch feeds the same [`model::Objects`] from elsewhere.

pub mod cgroup;
pub mod dump;
pub mod model;
pub mod policy;
pub mod snapshot;

pub use model::Protocol;
pub use snapshot::{AddressOwner, Snapshot, Workload};
