//! Connects: failed, still open, or dead before their first packet.

use tracer_common::conn::{Conn, conn_flag};
use tracer_common::event::{Connect as Wire, ConnectAttempt as Attempt};

use super::{DecodeError, actor, address, prefix, text, translated};
use crate::event::{ConnId, Connect, ConnectAttempt, Event, Ktime, Record};

/// `TCP_SYN_SENT` (include/net/tcp_states.h; part of the kernel's interface through `struct tcp_info`).
pub(super) const SYN_SENT: u32 = 2;

pub(super) fn event(bytes: &[u8]) -> Result<Event, DecodeError> {
    let wire: Wire = prefix(bytes)?;
    let connect = connect(wire.sock, &wire.conn, wire.header.at_ns);
    // The application may have asked for the error already, which clears it: then the report of it is what is left.
    let reported = if wire.error == 0 && wire.error_soft == 0 { wire.conn.error } else { wire.error_soft };
    Ok(Event::Connect(Connect { error: wire.error, error_soft: reported, ..connect }))
}

pub(super) fn open(sock: u64, conn: &Conn, at: Ktime) -> Connect {
    Connect { open: true, ..connect(sock, conn, at) }
}

fn connect(sock: u64, conn: &Conn, end_ns: Ktime) -> Connect {
    Connect {
        conn: ConnId { sock, born_ns: conn.born_ns },
        cgroup: conn.cgroup_id,
        netns: conn.tuple.netns,
        local: address(conn.tuple.local, conn.tuple.local_port),
        remote: address(conn.tuple.remote, conn.tuple.remote_port),
        nat_remote: translated(conn.nat_remote, conn.nat_remote_port),
        actor: actor(conn.connector),
        comm: text(&conn.comm),
        start_ns: conn.born_ns,
        end_ns,
        error: conn.error,
        error_soft: 0,
        reset: conn.flags & conn_flag::RST_RECEIVED != 0,
        syn_retransmits: conn.syn_retransmits,
        open: false,
        synchronous: conn.flags & conn_flag::SYNCHRONOUS != 0,
    }
}

/// A connect that never reached SYN_SENT, as the sweep at `at` found it.
pub fn connect_attempt(attempt: &Attempt, at: Ktime) -> Record {
    let pending = &attempt.pending;
    let event = Event::ConnectAttempt(ConnectAttempt {
        cgroup: pending.cgroup_id,
        netns: pending.netns,
        remote: address(pending.remote, pending.remote_port),
        actor: actor(attempt.actor),
        comm: text(&pending.comm),
        start_ns: pending.at_ns,
    });
    Record { at, event }
}
