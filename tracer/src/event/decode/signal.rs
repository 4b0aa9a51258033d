//! Things that befall a socket.

use tracer_common::conn::{Tls as WireTls, conn_flag, protocol, role, tls_flag};
use tracer_common::event::{Signal as Wire, kind, reset_direction};

use super::{DecodeError, Names, actor, address, known, prefix, text};
use crate::event::{ConnId, Event, Signal, SignalKind, Tls};

/// The hook of a wire kind.
pub(super) fn kind(kind: u16) -> Option<SignalKind> {
    Some(match kind {
        kind::TCP_RECEIVE_RESET => SignalKind::TcpReceiveReset,
        kind::TCP_SEND_RESET => SignalKind::TcpSendReset,
        kind::TCP_RETRANSMIT_SKB => SignalKind::TcpRetransmitSkb,
        kind::TCP_RETRANSMIT_SYNACK => SignalKind::TcpRetransmitSynack,
        kind::CONNECTION_END => SignalKind::ConnectionEnd,
        _ => return None,
    })
}

pub(super) fn event(signal: SignalKind, bytes: &[u8], names: &mut dyn Names) -> Result<Event, DecodeError> {
    let wire: Wire = prefix(bytes)?;
    let sent_reset = signal == SignalKind::TcpSendReset;
    let received_reset = signal == SignalKind::TcpReceiveReset || wire.flags & conn_flag::RST_RECEIVED != 0;
    Ok(Event::Signal(Signal {
        signal,
        conn: (wire.sock != 0 && wire.born_ns != 0).then_some(ConnId { sock: wire.sock, born_ns: wire.born_ns }),
        cgroup: wire.cgroup_id,
        netns: wire.tuple.netns,
        local: address(wire.tuple.local, wire.tuple.local_port),
        remote: address(wire.tuple.remote, wire.tuple.remote_port),
        actor: actor(wire.actor),
        comm: text(&wire.comm),
        state: wire.state,
        error: wire.error,
        reason: if sent_reset { names.reset_reason(wire.reason) } else { None },
        no_socket: sent_reset && wire.direction == reset_direction::NO_SOCKET,
        protocol: wire.protocol as u8,
        bytes_acked: wire.bytes_acked,
        bytes_received: wire.bytes_received,
        established_ns: wire.established_ns,
        reset_received: received_reset,
        client: wire.role == u32::from(role::CLIENT),
        connector: (signal == SignalKind::ConnectionEnd).then(|| known(wire.connector)).flatten(),
        local_closed_first: wire.flags & conn_flag::LOCAL_CLOSED_FIRST != 0,
        remote_closed_first: wire.flags & conn_flag::REMOTE_CLOSED_FIRST != 0,
        tls: (signal == SignalKind::ConnectionEnd && wire.carries == u32::from(protocol::TLS)).then(|| tls(&wire.tls)),
    }))
}

fn tls(wire: &WireTls) -> Tls {
    let is = |flag| wire.flags & flag != 0;
    let alert = |word: u16| (word != 0).then_some(((word >> 8) as u8, word as u8));
    Tls {
        alert_sent: alert(wire.alert[0]),
        alert_received: alert(wire.alert[1]),
        not_tls: is(tls_flag::NOT_TLS),
        http: is(tls_flag::HTTP),
        left: is(tls_flag::ALERT_SENT),
        unclear: is(tls_flag::LOST | tls_flag::DONE),
        handshakes_sent: wire.handshakes[0],
        handshakes_received: wire.handshakes[1],
        cipher_changes_sent: wire.cipher_changes[0],
        cipher_changes_received: wire.cipher_changes[1],
        data_sent: wire.data[0],
        data_received: wire.data[1],
        first_sent: wire.first[0],
        last_sent: wire.last[0],
        last_received: wire.last[1],
        answers: wire.answers,
    }
}
