//! Making, finding and ending connection records.

use aya_ebpf::bindings::BPF_NOEXIST;
use tracer_common::{
    conn::{Conn, HeadKey, conn_flag, protocol, role},
    limits::PIPELINE,
    stats::Stat,
};

use crate::{
    kernel,
    maps::{CONN, HEADS, UNREAD, UNREAD_BITS, ZERO_CONN, count},
};

/// The record of a socket.
#[inline(always)]
pub(crate) fn find(sock: u64) -> Option<*mut Conn> {
    CONN.get_ptr_mut(sock)
}

/// Makes the record of a socket, replacing one that an earlier socket at this address left behind.
#[inline(always)]
pub(crate) fn create(sock: u64, role: u8, flags: u32) -> Option<*mut Conn> {
    if CONN.insert(sock, &ZERO_CONN, 0).is_err() {
        count(Stat::LostConn);
        return None;
    }
    if flags & conn_flag::JOINED != 0 {
        count(Stat::Joined);
    }
    fill(sock, role, flags)
}

/// Makes the record of a socket that exists already, unless another hook has met it.
#[inline(always)]
pub(crate) fn take_over(sock: u64, role: u8, flags: u32) -> Option<*mut Conn> {
    if CONN.insert(sock, &ZERO_CONN, u64::from(BPF_NOEXIST)).is_err() {
        return None;
    }
    fill(sock, role, flags | conn_flag::EXISTING)
}

#[inline(always)]
fn fill(sock: u64, role: u8, flags: u32) -> Option<*mut Conn> {
    let conn = CONN.get_ptr_mut(sock)?;
    let address = kernel::address(sock);
    // SAFETY: a live map value.
    unsafe {
        (*conn).born_ns = kernel::now();
        (*conn).cgroup_id = kernel::sock_cgroup(address);
        (*conn).role = role;
        (*conn).flags = flags;
        kernel::sock_tuple(address, &mut (*conn).tuple);
        note_reads(&*conn, address);
    }
    Some(conn)
}

/// Where [`UNREAD`] has an answer for the socket of this address.
#[inline(always)]
fn unread(address: u64) -> Option<*mut u64> {
    // Fibonacci hashing: the upper bits of the product depend on all of the address.
    UNREAD.get_ptr_mut((address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - UNREAD_BITS)) as u32)
}

/// Notes whether it matters who reads from this connection: only a server's reads of requests do.
#[inline(always)]
pub(crate) fn note_reads(conn: &Conn, address: u64) {
    let Some(entry) = unread(address) else { return };
    let silent = conn.role == role::CLIENT || !matches!(conn.protocol, protocol::UNKNOWN | protocol::HTTP1);
    // SAFETY: a live map value.
    unsafe {
        if silent {
            *entry = address;
        } else if *entry == address {
            *entry = 0;
        }
    }
}

/// Whether a read from this socket says nothing.
#[inline(always)]
pub(crate) fn is_unread(address: u64) -> bool {
    // SAFETY: a live map value.
    unread(address).is_some_and(|entry| unsafe { *entry } == address)
}

/// Deletes the record and its heads.
#[inline(always)]
pub(crate) fn remove(sock: u64, begun: u32) {
    for slot in 0..PIPELINE {
        // One more than were begun: what turned out to be no request has been captured, too.
        if slot as u32 > begun {
            break;
        }
        let _ = HEADS.remove(HeadKey { sock, slot: slot as u64 });
    }
    let _ = CONN.remove(sock);
}

/// Whether this end receives requests.
#[inline(always)]
pub(crate) fn is_server(conn: *const Conn) -> bool {
    // SAFETY: a live map value.
    unsafe { (*conn).role == role::SERVER }
}
