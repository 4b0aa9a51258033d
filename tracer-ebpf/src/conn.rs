//! Making, finding and ending connection records.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    helpers::generated,
};
use tracer_common::{
    conn::{Conn, DirectConn, conn_flag, direct_place, role},
    stats::Stat,
};

use crate::{
    globals::offset,
    heads,
    kernel::{self, state},
    maps::{CONN, DIRECT_CONN, FULL_UNTIL, ZERO_CONN, add, claim, count},
};

/// `-EEXIST`
const EXISTS: i32 = -17;
/// For so long after there was no room none is looked for for connections whose beginning was missed.
const PAUSE_NS: u64 = 1_000_000_000;

/// The record of a socket.
#[inline(always)]
pub(crate) fn find(sock: u64) -> Option<*mut Conn> {
    let place = place(sock)?;
    // SAFETY: a live map value.
    unsafe {
        if (*place).sock == sock {
            return Some(&raw mut (*place).conn);
        }
        if (*place).displaced == 0 {
            return None;
        }
    }
    CONN.get_ptr_mut(sock)
}

/// The socket's place among those that are asked directly, whoever has it.
#[inline(always)]
fn place(sock: u64) -> Option<*mut DirectConn> {
    DIRECT_CONN.get_ptr_mut(direct_place(kernel::lower_half(sock)))
}

/// Makes the record of a socket, replacing one that an earlier socket at this address left behind.
#[inline(always)]
pub(crate) fn create(sock: u64, role: u8, flags: u32) -> Option<*mut Conn> {
    let conn = room(sock, BPF_ANY)?;
    fill(conn, sock, role, flags);
    Some(conn)
}

/// What is known of a connection met in this state; nothing of sockets that aren't connected.
#[inline(always)]
fn met_in(state: u32) -> Option<u32> {
    match state {
        // Its beginning hasn't been missed: whatever it carries will be seen.
        state::SYN_SENT => Some(0),
        state::ESTABLISHED => Some(conn_flag::JOINED | conn_flag::ESTABLISHED),
        // Whatever request comes now comes after the close.
        state::FIN_WAIT1 | state::FIN_WAIT2 | state::CLOSING => {
            Some(conn_flag::JOINED | conn_flag::ESTABLISHED | conn_flag::LOCAL_CLOSED_FIRST | conn_flag::CLOSED_IDLE)
        }
        state::CLOSE_WAIT | state::LAST_ACK => {
            Some(conn_flag::JOINED | conn_flag::ESTABLISHED | conn_flag::REMOTE_CLOSED_FIRST | conn_flag::CLOSED_IDLE)
        }
        _ => None,
    }
}

/// Whether a socket can be taken over.
#[inline(always)]
pub(crate) fn is_connected(sock: u64) -> bool {
    met_in(kernel::sock_state(kernel::address(sock))).is_some()
}

/// Makes the record of a connection whose beginning was missed, unless another hook has met it. Nothing of what it carried
/// is known.
#[inline(always)]
pub(crate) fn take_over(sock: u64) -> Option<*mut Conn> {
    let address = kernel::address(sock);
    let state = kernel::sock_state(address);
    let flags = met_in(state)?;
    // An accepted socket is a copy of its listener, limit of the accept queue included (`net/core/sock.c`
    // `sk_clone_lock`); one that connected has none.
    let accepted = kernel::read_or_zero::<u32>(address, offset!(sk_max_ack_backlog)) != 0;
    let conn = room(sock, BPF_NOEXIST)?;
    fill(conn, sock, if accepted { role::SERVER } else { role::CLIENT }, flags | conn_flag::EXISTING);
    // SAFETY: a live map value.
    let record = unsafe { &mut *conn };
    record.state = state;
    if flags & (conn_flag::LOCAL_CLOSED_FIRST | conn_flag::REMOTE_CLOSED_FIRST) != 0 {
        record.closing_ns = record.born_ns;
    }
    Some(conn)
}

/// Room for a record, all zero: the socket's own place, or one in the hash. That there is none is counted.
#[inline(always)]
fn room(sock: u64, flags: u32) -> Option<*mut Conn> {
    let place = place(sock)?;
    // SAFETY: a live map value; the claim makes it this socket's own.
    unsafe {
        if (*place).sock == sock && flags == BPF_NOEXIST {
            return None;
        }
        if (*place).sock == sock || claim(&raw mut (*place).claims) {
            let conn = &raw mut (*place).conn;
            // The helper copies what the compiler would unroll.
            let zero = (&raw const ZERO_CONN).cast();
            let _ = generated::bpf_probe_read_kernel(conn.cast(), size_of::<Conn>() as u32, zero);
            (*conn).flags = conn_flag::DIRECT;
            (*place).sock = sock;
            return Some(conn);
        }
    }
    // SAFETY: as before.
    let displaced = unsafe { &raw mut (*place).displaced };
    // SAFETY: as before. First: whoever finds none doesn't look into the hash.
    unsafe { add(displaced, 1) };
    if let Err(error) = CONN.insert(sock, &ZERO_CONN, u64::from(BPF_NOEXIST)) {
        // SAFETY: as before.
        unsafe { add(displaced, -1) };
        if error == EXISTS && flags == BPF_NOEXIST {
            return None;
        }
        if error != EXISTS || CONN.insert(sock, &ZERO_CONN, u64::from(BPF_ANY)).is_err() {
            count(Stat::LostConn);
            if let Some(until) = FULL_UNTIL.get_ptr_mut(0) {
                // SAFETY: as before.
                unsafe { *until = kernel::now() + PAUSE_NS };
            }
            return None;
        }
    }
    CONN.get_ptr_mut(sock)
}

/// Whether there was no room a moment ago: not every segment of every connection without a record need try.
#[inline(always)]
pub(crate) fn is_full() -> bool {
    FULL_UNTIL.get(0).is_some_and(|until| kernel::coarse_now() < *until)
}

#[inline(always)]
fn fill(conn: *mut Conn, sock: u64, role: u8, flags: u32) {
    let address = kernel::address(sock);
    // SAFETY: a live map value.
    unsafe {
        (*conn).born_ns = kernel::now();
        (*conn).cgroup_id = kernel::sock_cgroup(address);
        (*conn).role = role;
        (*conn).flags |= flags;
        kernel::sock_tuple(address, &mut (*conn).tuple);
    }
}

/// Deletes the record and its heads. A program that another CPU runs for the last packet may still write to the place, for some
/// hundred nanoseconds; a preallocated hash gives its entries away as soon.
#[inline(always)]
pub(crate) fn remove(conn: &Conn, sock: u64) {
    heads::remove(conn, sock);
    let Some(place) = place(sock) else { return };
    // SAFETY: a live map value.
    unsafe {
        if (*place).sock == sock {
            (*place).sock = 0;
            add(&raw mut (*place).claims, -1);
            return;
        }
        if CONN.remove(sock).is_ok() {
            add(&raw mut (*place).displaced, -1);
        }
    }
}

/// Whether this end receives requests.
#[inline(always)]
pub(crate) fn is_server(conn: *const Conn) -> bool {
    // SAFETY: a live map value.
    unsafe { (*conn).role == role::SERVER }
}
