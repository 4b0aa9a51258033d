//! Connects: `inet_sock_set_state`, `cgroup/connect4`, `cgroup/connect6`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Header;
use crate::{Actor, conn::Conn};

/// A connect that failed: SYN_SENT to CLOSE.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Connect {
    pub header: Header,
    pub sock: u64,
    pub conn: Conn,
    /// `sk_err`: the errno, 0 when the application gave up or the error came while it held the socket.
    pub error: u32,
    /// `sk_err_soft`: the last ICMP error's errno, 0 if none.
    pub error_soft: u32,
}

/// A `connect` call seen by `cgroup/connect4` or `connect6`; it is pending until the socket enters SYN_SENT.
/// Key: the calling thread (`Actor`).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PendingConnect {
    pub at_ns: u64,
    pub cgroup_id: u64,
    pub remote: [u8; 16],
    pub remote_port: u16,
    pub pad: u16,
    pub netns: u32,
    pub comm: [u8; 16],
}

/// A connect that died before SYN_SENT, as the sweep of the pending map finds it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ConnectAttempt {
    pub actor: Actor,
    pub pending: PendingConnect,
}

const _: () = assert!(size_of::<PendingConnect>() == 56);
