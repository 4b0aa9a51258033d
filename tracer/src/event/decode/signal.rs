//! Things that befall a socket.

use tracer_common::conn::{conn_flag, role};
use tracer_common::event::{Signal as Wire, kind, reset_direction};

use super::{DecodeError, Names, actor, address, prefix, text};
use crate::event::{ConnId, Event, Signal, SignalKind};

/// The hook of a wire kind.
pub(super) fn kind(kind: u16) -> Option<SignalKind> {
    Some(match kind {
        kind::TCP_RECEIVE_RESET => SignalKind::TcpReceiveReset,
        kind::TCP_SEND_RESET => SignalKind::TcpSendReset,
        kind::TCP_RETRANSMIT_SKB => SignalKind::TcpRetransmitSkb,
        kind::TCP_RETRANSMIT_SYNACK => SignalKind::TcpRetransmitSynack,
        kind::INET_SK_ERROR_REPORT => SignalKind::InetSkErrorReport,
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
    }))
}
