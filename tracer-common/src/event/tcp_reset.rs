//! Things that befall a socket: resets, retransmits, errors, a broken end.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Header;
use crate::{Actor, Tuple, conn::Tls};

/// Who made a reset, in [`Signal::direction`].
pub mod reset_direction {
    /// A socket sent it: it closed with unread data, `SO_LINGER` 0, or its process died.
    pub const SOCKET: u32 = 0;
    /// The kernel answered a segment that no socket wants.
    pub const NO_SOCKET: u32 = 1;
}

/// `tcp_receive_reset`, `tcp_send_reset`, `tcp_retransmit_skb`, `tcp_retransmit_synack`, and the end of a connection without HTTP.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Signal {
    pub header: Header,
    /// Address of the `struct sock`, 0 where there is none.
    pub sock: u64,
    /// Generation of its connection record, 0 where there is none.
    pub born_ns: u64,
    pub cgroup_id: u64,
    pub tuple: Tuple,
    pub actor: Actor,
    pub comm: [u8; 16],
    /// `TCP_*` state at that moment.
    pub state: u32,
    /// `sk_err`.
    pub error: u32,
    /// `sk_err_soft`.
    pub error_soft: u32,
    /// `enum sk_rst_reason` of a reset sent, `u32::MAX` where the kernel gives none.
    pub reason: u32,
    /// One of [`reset_direction`] for a reset sent.
    pub direction: u32,
    /// `IPPROTO_*`.
    pub protocol: u32,
    /// Payload bytes sent and acknowledged, and received, on the connection.
    pub bytes_acked: u64,
    pub bytes_received: u64,
    /// When it was established, 0 if unknown.
    pub established_ns: u64,
    /// `conn_flag`s.
    pub flags: u32,
    /// `conn::role`.
    pub role: u32,
    /// Who connected, of a connection's end.
    pub connector: Actor,
    /// Of a connection that began with a TLS handshake.
    pub tls: Tls,
    /// `conn::protocol`.
    pub carries: u32,
}

const _: () = assert!(size_of::<Signal>() == 16 + 24 + 40 + 8 + 16 + 24 + 24 + 8 + 8 + 28 + 4);
