//! The flight recorder: what went well, overwritten, and read only after a failure. Each CPU has its own lane of slots, so no
//! atomics are needed; a record's number is zero while it is being written.

use tracer_common::{
    conn::Conn,
    event::{FlightRecord, Heads},
    limits::{FLIGHT_LINE, FLIGHT_RECORDS, PIPELINE},
    stats::Stat,
};

use crate::{
    http::{RECEIVED, SENT},
    maps::{FLIGHT, STATS, lane},
};

/// Takes the next slot of this CPU's lane, with the number that completes it.
#[inline(always)]
fn next() -> Option<(&'static mut FlightRecord, u64)> {
    let counter = STATS.get_ptr_mut(Stat::Flight as u32)?;
    // SAFETY: a live map value of this CPU.
    let number = unsafe {
        *counter += 1;
        *counter
    };
    let record = FLIGHT.get_ptr_mut(lane(FLIGHT_RECORDS, number as u32)?)?;
    // SAFETY: a live map value; array elements outlive the program.
    unsafe {
        (&raw mut (*record).sequence).write_volatile(0);
        Some((&mut *record, number))
    }
}

#[inline(always)]
fn complete(record: &mut FlightRecord, number: u64) {
    // SAFETY: a live map value.
    unsafe { (&raw mut record.sequence).write_volatile(number) }
}

/// An exchange that went well.
#[inline(always)]
pub(crate) fn exchange(conn: &Conn, sock: u64, slot: usize, heads: *const Heads) {
    let Some((record, number)) = next() else { return };
    let request = &conn.requests[slot & (PIPELINE - 1)];
    identify(record, conn, sock);
    record.start_ns = request.start_ns;
    record.read_ns = request.read_ns;
    record.response_ns = request.response_ns;
    record.actor = request.actor;
    record.responder = request.responder;
    record.seq = request.seq;
    record.ack = request.ack;
    record.status = request.status;
    record.flags = request.flags;
    let len = request.head_len as u32;
    record.line_len = if len < FLIGHT_LINE as u32 { len } else { FLIGHT_LINE as u32 };
    // In words: of bytes the compiler would keep all on the stack.
    // SAFETY: a live map value; both are aligned and that long.
    unsafe {
        let line = (&raw const (*heads).request).cast::<[u64; FLIGHT_LINE / 8]>();
        (&raw mut record.line).cast::<[u64; FLIGHT_LINE / 8]>().write(line.read());
    }
    complete(record, number);
}

/// The end of an opaque connection: status 0, and the times of its establishment, last sent and last received payload.
#[inline(always)]
pub(crate) fn opaque_connection(conn: &Conn, sock: u64) {
    let Some((record, number)) = next() else { return };
    identify(record, conn, sock);
    record.start_ns = conn.established_ns;
    record.read_ns = conn.last_ns[SENT];
    record.response_ns = conn.last_ns[RECEIVED];
    record.actor = conn.connector;
    record.seq = 0;
    record.ack = 0;
    record.status = 0;
    record.flags = conn.protocol;
    record.line_len = 0;
    complete(record, number);
}

#[inline(always)]
fn identify(record: &mut FlightRecord, conn: &Conn, sock: u64) {
    record.sock = sock;
    record.born_ns = conn.born_ns;
    record.cgroup_id = conn.cgroup_id;
    record.tuple = conn.tuple;
    record.role = conn.role;
    record.connector = conn.connector;
}
