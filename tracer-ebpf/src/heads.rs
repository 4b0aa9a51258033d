//! Where captured heads are kept: that of a connection's only outstanding request at a place of its own, those of pipelined
//! requests and of connections without a place in a hash.

use tracer_common::{
    conn::{Conn, DIRECT_HEAD, HeadKey, conn_flag, direct_head},
    event::Heads,
    limits::PIPELINE,
    stats::Stat,
};

use crate::{
    kernel,
    maps::{DIRECT_HEADS, HEADS, ZERO_HEADS, count},
};

/// The heads of a request, by its [`Request::slot`](tracer_common::conn::Request::slot).
#[inline(always)]
pub(crate) fn find(sock: u64, slot: u8) -> Option<*mut Heads> {
    if slot >= DIRECT_HEAD {
        return DIRECT_HEADS.get_ptr_mut(direct_head(kernel::lower_half(sock), slot));
    }
    HEADS.get_ptr_mut(HeadKey { sock, slot: u64::from(slot) })
}

/// Where the heads of a connection's next request go.
#[inline(always)]
pub(crate) fn slot(conn: &Conn) -> u8 {
    if conn.flags & conn_flag::DIRECT != 0 && conn.begun == conn.answered {
        return DIRECT_HEAD | conn.begun as u8 & 1;
    }
    conn.begun as u8 & (PIPELINE as u8 - 1)
}

/// Room for the heads of a request, with whatever stood there before.
#[inline(always)]
pub(crate) fn room(conn: &mut Conn, sock: u64, slot: u8) -> Option<*mut Heads> {
    if let Some(heads) = find(sock, slot) {
        return Some(heads);
    }
    let key = HeadKey { sock, slot: u64::from(slot) };
    if HEADS.insert(key, &ZERO_HEADS, 0).is_err() {
        count(Stat::LostHead);
        return None;
    }
    conn.flags |= conn_flag::HEADS;
    HEADS.get_ptr_mut(key)
}

/// Deletes a connection's heads.
#[inline(always)]
pub(crate) fn remove(conn: &Conn, sock: u64) {
    if conn.flags & conn_flag::HEADS == 0 {
        return;
    }
    for slot in 0..PIPELINE as u64 {
        let _ = HEADS.remove(HeadKey { sock, slot });
    }
}
