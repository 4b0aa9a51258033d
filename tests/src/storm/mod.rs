//! The storm: many scenarios at once on one cluster, each in namespaces of its own, behind relays as chance has it, with
//! healthy traffic through whatever of their pods is healthy; and the score of what the tracer made of it. A scenario joins
//! by being there.

pub mod calm;
pub mod chance;
pub mod place;
pub mod relay;
pub mod score;
pub mod site;

pub use self::{chance::Chance, score::Score, site::Site};
