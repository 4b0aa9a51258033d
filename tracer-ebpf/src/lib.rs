//! Empty on purpose: `tracer` build-depends on this crate so that cargo rebuilds the object when a program changes.
#![no_std]
