//! The wire types shared by the kernel programs (`tracer-ebpf`) and user space (`tracer`).
//!
//! Every type is `repr(C)` without padding: deriving [`zerocopy::IntoBytes`] fails to compile otherwise. Numbers are in
//! host byte order (both sides run on one machine), times are nanoseconds of `CLOCK_BOOTTIME`'s monotonic sibling
//! `bpf_ktime_get_ns` (`CLOCK_MONOTONIC`), addresses are IPv6 or IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2).
#![no_std]

pub mod config;
pub mod conn;
pub mod event;
pub mod limits;
pub mod stats;
mod tuple;

pub use tuple::{Actor, Tuple};

/// Changes whenever a wire type changes; the loader refuses an object with another value.
pub const ABI_VERSION: u32 = 5;
