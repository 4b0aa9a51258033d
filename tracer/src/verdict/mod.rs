//! From a chain of events to a cause: one rule per file.

mod incident;

pub use incident::{Cause, Coverage, Evidence, Hop, Incident, Link, Origin, SCHEMA, Symptom, SymptomKind};
