//! The running kernel: load the programs, attach them, read what they say. The only module that imports aya.
//!
//! ```text
//! btf ─▶ offsets, features ─▶ plan ─▶ start ─▶ Kernel { rings, flight, tables, … }
//! ```
//!
//! Links are file descriptors of this process and never pinned: when it ends, however it ends, the kernel detaches
//! everything. [`plan`], [`decode_stack`] and [`drop_action`] are pure and compile without the `kernel` feature.

pub mod decode_stack;
pub mod drop_action;
pub mod plan;

#[cfg(feature = "kernel")]
mod attach;
#[cfg(feature = "kernel")]
pub mod btf;
#[cfg(feature = "kernel")]
mod cpus;
#[cfg(feature = "kernel")]
mod existing;
#[cfg(feature = "kernel")]
pub mod features;
#[cfg(feature = "kernel")]
pub mod flight;
#[cfg(feature = "kernel")]
pub mod map;
#[cfg(feature = "kernel")]
mod mapping;
#[cfg(feature = "kernel")]
mod names;
#[cfg(feature = "kernel")]
pub mod object;
#[cfg(feature = "kernel")]
pub mod offsets;
#[cfg(feature = "kernel")]
pub mod preflight;
#[cfg(feature = "kernel")]
pub mod ring;
#[cfg(feature = "kernel")]
mod slice;
#[cfg(feature = "kernel")]
mod start;
#[cfg(feature = "kernel")]
pub mod symbols;
#[cfg(feature = "kernel")]
pub mod tables;

#[cfg(feature = "kernel")]
pub use attach::ProgramStatus;
#[cfg(feature = "kernel")]
pub use names::KernelNames;
#[cfg(feature = "kernel")]
pub use start::{Kernel, Options, Session, StartError};

/// Lets the kernel count runs and time of all eBPF programs until the descriptor is closed.
///
/// # Errors
/// Where the kernel refuses: before 5.8, or without CAP_SYS_ADMIN.
#[cfg(feature = "kernel")]
pub fn count_runs() -> std::io::Result<std::os::fd::OwnedFd> {
    aya::sys::enable_stats(aya::sys::Stats::RunTime).map_err(|error| error.io_error)
}

#[cfg(feature = "kernel")]
#[cfg(test)]
mod tests;
