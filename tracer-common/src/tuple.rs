//! Who talks to whom, and who acts.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A transport tuple as its socket sees it: `local` is the socket's own end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Tuple {
    /// IPv6, or IPv4-mapped IPv6.
    pub local: [u8; 16],
    pub remote: [u8; 16],
    pub local_port: u16,
    pub remote_port: u16,
    /// Inode of the network namespace (`/proc/PID/ns/net`), 0 when unknown.
    pub netns: u32,
}

/// The thread in whose context something happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Actor {
    /// Process id in the node's PID namespace, 0 when unknown.
    pub tgid: u32,
    /// Thread id in the node's PID namespace.
    pub tid: u32,
}

const _: () = assert!(size_of::<Tuple>() == 40 && size_of::<Actor>() == 8);
