//! Facts read from the node: cgroup paths, /proc, /var/log/pods.
//!
//! Everything goes through a [`HostRoot`]: in a container, the host's file system lies below a directory.
#[cfg(feature = "kernel")]
pub mod cgroups;
#[cfg(feature = "kernel")]
pub mod listeners;
#[cfg(feature = "kernel")]
pub mod logs;
pub mod mounts;
#[cfg(feature = "kernel")]
pub mod netns;
#[cfg(feature = "kernel")]
pub mod netstat;
#[cfg(feature = "kernel")]
pub mod pod_logs;
#[cfg(feature = "kernel")]
pub mod proc;
#[cfg(feature = "kernel")]
pub mod resources;
mod root;
#[cfg(feature = "kernel")]
pub mod ruleset;
#[cfg(feature = "kernel")]
pub mod unix_sockets;

pub use root::HostRoot;
