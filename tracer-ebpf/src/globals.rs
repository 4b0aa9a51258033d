//! Read-only globals that user space injects before load. They are frozen, so the verifier sees constants and removes
//! the branches that the running kernel doesn't need; the reads are volatile so that the compiler doesn't fold the zeros.

use tracer_common::config::{Config, Offsets};
use zerocopy_zero::zeroed;

#[unsafe(no_mangle)]
pub(crate) static OFFSETS: Offsets = zeroed();
#[unsafe(no_mangle)]
pub(crate) static CONFIG: Config = zeroed();

mod zerocopy_zero {
    /// All-zero value of a wire type (each of them is valid for any bytes).
    pub(super) const fn zeroed<T>() -> T {
        // SAFETY: only used for wire types, which are `FromBytes`.
        unsafe { core::mem::zeroed() }
    }
}

/// Reads one injected number.
#[inline(always)]
pub(crate) fn injected(field: &'static u32) -> u32 {
    // SAFETY: a reference is valid for reads.
    unsafe { core::ptr::from_ref(field).read_volatile() }
}

/// One offset of the running kernel.
macro_rules! offset {
    ($field:ident) => {
        $crate::globals::injected(&$crate::globals::OFFSETS.$field)
    };
}

/// One field of the configuration.
macro_rules! config {
    ($field:ident) => {
        $crate::globals::injected(&$crate::globals::CONFIG.$field)
    };
}

pub(crate) use {config, offset};
