//! Processes that die (`mark_victim`, `sched_process_exit`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Header;
use crate::Actor;

/// Facts, in [`Process::kind`].
pub mod process_kind {
    /// It had read requests or owned their sockets.
    pub const SERVED: u32 = 1;
}

/// A process chosen by the OOM killer, or one that ended.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Process {
    pub header: Header,
    pub cgroup_id: u64,
    pub actor: Actor,
    pub comm: [u8; 16],
    /// As `wait(2)` gives it: low 7 bits the signal, bits 8–15 the exit code.
    pub exit_code: u32,
    pub kind: u32,
}
