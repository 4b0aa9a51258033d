//! From a kernel event to an explained incident.
//!
//! What happened goes one way: `kernel` (hooks, rings) → `event` (decoded, parsed by `protocol`) → `correlate` (who made
//! whom fail) → `verdict` (why) → `sink` (text, JSON, file). `k8s` and `host` name things. `event`, `protocol`, `k8s`,
//! `correlate`, `verdict` and `sink` are pure, and built without the feature `kernel`, too.
#[cfg(feature = "agent")]
pub mod agent;
#[cfg(feature = "kernel")]
pub mod cli;
#[cfg(feature = "kernel")]
pub mod clock;
#[cfg(feature = "agent")]
pub mod cluster;
#[cfg(feature = "kernel")]
pub mod confine;
pub mod correlate;
pub mod event;
mod fnv;
#[cfg(feature = "kernel")]
pub mod heap;
pub mod host;
pub mod k8s;
pub mod kernel;
#[cfg(feature = "kernel")]
pub mod pipeline;
#[cfg(feature = "kernel")]
mod private;
pub mod protocol;
#[cfg(feature = "kube")]
mod reasons;
mod recent;
pub mod sink;
pub mod verdict;
