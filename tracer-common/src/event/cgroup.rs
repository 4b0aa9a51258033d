//! Containers that come and go (`cgroup_mkdir`, `cgroup_rmdir`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Header;
use crate::limits::CGROUP_PATH;

/// A cgroup v2 directory made or removed.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Cgroup {
    pub header: Header,
    pub cgroup_id: u64,
    /// Path below the cgroup v2 root, NUL-terminated.
    pub path: [u8; CGROUP_PATH],
}
