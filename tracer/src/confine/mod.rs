//! The agent gives up what it doesn't need any more. Privileges are a thread's in Linux: the one that observes keeps two capabilities,
//! those that face the network have none and see none of the node's files.
//!
//! | | thread that observes | every other thread of the agent |
//! |---|---|---|
//! | capabilities | those to look into `/proc` | none |
//! | files (landlock) | all that these open | its own configuration, credentials and journal |
//! | system calls (seccomp) | none that run programs, change the machine or load kernel programs | the same |
//!
//! The observing thread can't have landlock: under it not even root may look at other processes' namespaces and
//! executables (`Documentation/userspace-api/landlock.rst`, "Ptrace restrictions").

mod capabilities;
#[cfg(feature = "agent")]
mod files;
#[cfg(feature = "agent")]
mod syscalls;

pub use capabilities::{drop_all, keep_for_observing};
#[cfg(feature = "agent")]
pub use files::restrict_files;
#[cfg(feature = "agent")]
pub use syscalls::restrict_system_calls;

/// Which measure failed, and why.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action}: {reason}")]
pub struct ConfineError {
    action: &'static str,
    reason: String,
}

impl ConfineError {
    fn new(action: &'static str, reason: impl std::fmt::Display) -> Self {
        Self { action, reason: reason.to_string() }
    }
}
