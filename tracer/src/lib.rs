//! From a kernel event to an explained incident.
pub mod host;
pub mod k8s;
