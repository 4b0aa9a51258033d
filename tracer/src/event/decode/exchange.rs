//! HTTP exchanges: failed ones, those of the flight recorder, and those still open.

use tracer_common::conn::{Conn, Request, conn_flag, protocol, req_flag};
use tracer_common::event::{Exchange as Wire, FlightRecord, Heads};
use tracer_common::limits::{FLIGHT_LINE, PIPELINE, REQUEST_HEAD, RESPONSE_HEAD};
use zerocopy::FromZeros;

use super::{DecodeError, actor, address, connect, known, prefix, role, text, translated};
use crate::event::{Actor, ConnId, Event, Exchange, Ktime, OpaqueConnection, Outcome, Record, Role, Seen};
use crate::protocol::http1;

pub(super) fn event(bytes: &[u8]) -> Result<Event, DecodeError> {
    let wire: Wire = prefix(bytes)?;
    let cut = wire.request.flags & req_flag::CUT != 0;
    let outcome = match wire.request.status {
        status if status != 0 && !cut => Outcome::Status(status),
        _ => Outcome::Unanswered,
    };
    let ended = if outcome == Outcome::Unanswered { wire.header.at_ns } else { wire.request.response_ns };
    let how = (Seen::Event, outcome, ended);
    exchange(wire.sock, &wire.conn, &wire.request, Some(&wire.heads), how).map(Event::Exchange)
}

/// A record of the flight recorder: an exchange, or an opaque connection that ended. What it doesn't keep of the connection is empty or zero.
///
/// # Errors
/// [`DecodeError::NotHttp`], as for events.
pub fn flight(record: &FlightRecord) -> Result<Record, DecodeError> {
    let mut conn = Conn::new_zeroed();
    conn.born_ns = record.born_ns;
    conn.cgroup_id = record.cgroup_id;
    conn.tuple = record.tuple;
    conn.role = record.role;
    conn.connector = record.connector;
    if record.status == 0 {
        conn.established_ns = record.start_ns;
        conn.protocol = record.flags;
        conn.last_ns = [record.read_ns, record.response_ns];
        return Ok(opaque_connection(record.sock, &conn));
    }
    let request = Request {
        start_ns: record.start_ns,
        read_ns: record.read_ns,
        response_ns: record.response_ns,
        actor: record.actor,
        responder: record.responder,
        seq: record.seq,
        ack: record.ack,
        status: record.status,
        flags: record.flags,
        ..Request::default()
    };
    let how = (Seen::Flight, Outcome::Status(record.status), record.response_ns);
    let mut exchange = exchange(record.sock, &conn, &request, None, how)?;
    let line = &record.line[..(record.line_len as usize).min(FLIGHT_LINE)];
    if !line.is_empty() {
        exchange.request = Some(http1::request(line).ok_or(DecodeError::NotHttp)?.head);
        // Only the request line is kept; it alone may be cut.
        exchange.truncated |= !line.contains(&b'\n');
    }
    Ok(Record { at: record.response_ns, event: Event::Exchange(exchange) })
}

/// A client's connection that carries no HTTP, as far as it was used.
pub fn opaque_connection(sock: u64, conn: &Conn) -> Record {
    let last_ns = conn.last_ns[0].max(conn.last_ns[1]);
    let event = Event::OpaqueConnection(OpaqueConnection {
        conn: ConnId { sock, born_ns: conn.born_ns },
        cgroup: conn.cgroup_id,
        netns: conn.tuple.netns,
        local: address(conn.tuple.local, conn.tuple.local_port),
        remote: address(conn.tuple.remote, conn.tuple.remote_port),
        connector: known(conn.connector),
        tls: conn.protocol == protocol::TLS,
        start_ns: if conn.established_ns == 0 { conn.born_ns } else { conn.established_ns },
        last_ns,
        answered: conn.last_ns[1] != 0,
    });
    Record { at: last_ns, event }
}

/// What a connection waits for, as of `at`: an open exchange per request without an answer, or the connect itself. The
/// captured heads are asked for by the request's slot.
pub fn open(
    sock: u64,
    conn: &Conn,
    at: Ktime,
    mut heads: impl FnMut(u8) -> Option<Heads>,
) -> Vec<Result<Record, DecodeError>> {
    let record = |event| Record { at, event };
    if conn.state == connect::SYN_SENT {
        return vec![Ok(record(Event::Connect(connect::open(sock, conn, at))))];
    }
    if conn.protocol != protocol::HTTP1 {
        return Vec::new();
    }
    let outstanding = conn.begun.wrapping_sub(conn.answered).min(PIPELINE as u32);
    (0..outstanding)
        .map(|n| conn.answered.wrapping_add(n))
        .filter_map(|number| {
            let slot = number as usize % PIPELINE;
            let request = &conn.requests[slot];
            // The record was copied while a program changed it.
            if request.number != number || request.start_ns == 0 {
                return None;
            }
            let how = (Seen::Open, Outcome::Open, at);
            let heads = heads(request.slot);
            Some(exchange(sock, conn, request, heads.as_ref(), how).map(|open| record(Event::Exchange(open))))
        })
        .collect()
}

fn exchange(
    sock: u64,
    conn: &Conn,
    request: &Request,
    heads: Option<&Heads>,
    (seen, outcome, end_ns): (Seen, Outcome, Ktime),
) -> Result<Exchange, DecodeError> {
    let role = role(conn.role.into())?;
    let (sender, responder) = actors(role, conn, request);
    let mut truncated = request.flags & req_flag::TRUNCATED != 0;
    let request_head = match heads.map(|heads| captured(&heads.request, request.head_len, REQUEST_HEAD)) {
        None | Some([]) => None,
        Some(bytes) => {
            let parsed = http1::request(bytes).ok_or(DecodeError::NotHttp)?;
            // The program flags a body that it didn't capture, too.
            truncated = !parsed.complete;
            Some(parsed.head)
        }
    };
    let response = heads
        .filter(|_| matches!(outcome, Outcome::Status(_)))
        .and_then(|heads| http1::response(captured(&heads.response, request.response_len, RESPONSE_HEAD)));
    let is = |flag| conn.flags & flag != 0;
    let cut = (request.flags & req_flag::CUT != 0).then_some(request.status);
    Ok(Exchange {
        seen,
        role,
        conn: ConnId { sock, born_ns: conn.born_ns },
        cgroup: conn.cgroup_id,
        netns: conn.tuple.netns,
        local: address(conn.tuple.local, conn.tuple.local_port),
        remote: address(conn.tuple.remote, conn.tuple.remote_port),
        nat_remote: translated(conn.nat_remote, conn.nat_remote_port),
        connector: known(conn.connector),
        comm: text(&conn.comm),
        established_ns: conn.established_ns,
        start_ns: request.start_ns,
        read_ns: (request.read_ns != 0).then_some(request.read_ns),
        end_ns,
        actor: sender,
        responder,
        seq: request.seq,
        ack: request.ack,
        number: request.number,
        first: request.flags & req_flag::FIRST != 0,
        outcome,
        request: request_head,
        response: response.map(|parsed| parsed.head),
        truncated,
        reset_received: is(conn_flag::RST_RECEIVED),
        reset_sent: is(conn_flag::RST_SENT),
        local_closed_first: is(conn_flag::LOCAL_CLOSED_FIRST),
        remote_closed_first: is(conn_flag::REMOTE_CLOSED_FIRST),
        // Of a request whose answer is underway.
        closed_idle: is(conn_flag::CLOSED_IDLE) && cut.is_none(),
        cut,
        closing_ns: conn.closing_ns,
        retransmits: conn.retransmits,
    })
}

/// Who sent or read the request, and who answered. Packets may leave in whatever task an interrupt met (a retransmit, or a
/// window that an acknowledgement opened): a sender is believed only if it is of the process that connected, a responder
/// only if it is of the process that read the request.
fn actors(role: Role, conn: &Conn, request: &Request) -> (Option<Actor>, Option<Actor>) {
    let same_process = |wire: tracer_common::Actor, owner: tracer_common::Actor| wire.tgid == owner.tgid;
    match role {
        Role::Client => {
            let believed = conn.connector.tgid == 0 || same_process(request.actor, conn.connector);
            (known(request.actor).filter(|_| believed), None)
        }
        Role::Server => {
            let believed = request.responder.tgid != 0 && same_process(request.responder, request.actor);
            (known(request.actor), believed.then(|| actor(request.responder)))
        }
    }
}

/// The captured bytes; a length that can't be is as good as all of them.
fn captured(bytes: &[u8], len: u16, max: usize) -> &[u8] {
    &bytes[..usize::from(len).min(max).min(bytes.len())]
}
