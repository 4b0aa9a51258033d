//! The binary as scripts use it. What needs root is ignored: `cargo test -p tracer --test cli -- --ignored`
#![cfg(feature = "kernel")]
#![expect(clippy::unwrap_used, reason = "helpers of tests, which may panic as the tests do")]

mod capture;
mod schema;
mod support;
mod usage;
