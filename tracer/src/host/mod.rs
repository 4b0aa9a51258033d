//! Facts read from the node: cgroup paths, /proc, /var/log/pods.
//!
//! Everything goes through a [`HostRoot`]: in a container, the host's file system lies below a directory.
#[cfg(feature = "kernel")]
pub mod cgroups;
#[cfg(feature = "kernel")]
pub mod listeners;
pub mod mounts;
#[cfg(feature = "kernel")]
pub mod netns;
#[cfg(feature = "kernel")]
pub mod pod_logs;
#[cfg(feature = "kernel")]
pub mod proc;
mod root;

pub use root::HostRoot;
