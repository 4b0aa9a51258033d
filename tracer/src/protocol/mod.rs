//! Messages as they stand on the wire, parsed and redacted. Pure, and total on any bytes.

pub mod dns;
pub mod http1;
