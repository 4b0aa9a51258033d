//! From a kernel event to an explained incident.
#[cfg(feature = "kernel")]
pub mod cli;
#[cfg(feature = "kernel")]
pub mod clock;
pub mod host;
pub mod k8s;
pub mod kernel;
