//! The commands: one file each, no logic beyond wiring.
pub mod doctor;
