//! DNS transactions: answered, or given up on.

use tracer_common::event::{Dns as Wire, DnsKey, DnsPending};

use super::{DecodeError, actor, address, prefix, role, text};
use crate::event::{Dns, Event, Ktime, Record};
use crate::protocol::dns::{self, Message};

const IPPROTO_TCP: u16 = 6;

pub(super) fn event(bytes: &[u8]) -> Result<Event, DecodeError> {
    let wire: Wire = prefix(bytes)?;
    let message = parse(&wire.message, wire.len)?;
    let asked = DnsPending {
        start_ns: wire.start_ns,
        cgroup_id: wire.cgroup_id,
        tuple: wire.tuple,
        actor: wire.actor,
        comm: wire.comm,
        transmissions: wire.transmissions,
        protocol: wire.protocol,
        len: 0,
        message: [0; _],
    };
    let rcode = Some(message.rcode);
    transaction(&wire.key, &asked, message, rcode, wire.header.at_ns).map(Event::Dns)
}

/// A query that waited too long, as the sweep at `at` found it.
///
/// # Errors
/// Where what was sent to the DNS port is no DNS message.
pub fn unanswered_dns(key: &DnsKey, pending: &DnsPending, at: Ktime) -> Result<Record, DecodeError> {
    let message = parse(&pending.message, pending.len)?;
    let dns = transaction(key, pending, message, None, at)?;
    Ok(Record { at, event: Event::Dns(dns) })
}

fn parse(message: &[u8], len: u16) -> Result<Message, DecodeError> {
    dns::message(&message[..usize::from(len).min(message.len())]).ok_or(DecodeError::NotDns)
}

fn transaction(
    key: &DnsKey,
    asked: &DnsPending,
    message: Message,
    rcode: Option<u8>,
    end_ns: Ktime,
) -> Result<Dns, DecodeError> {
    let tuple = &asked.tuple;
    Ok(Dns {
        role: role(key.role)?,
        cgroup: asked.cgroup_id,
        netns: tuple.netns,
        local: address(tuple.local, tuple.local_port),
        remote: address(tuple.remote, tuple.remote_port),
        actor: actor(asked.actor),
        comm: text(&asked.comm),
        start_ns: asked.start_ns,
        end_ns,
        transmissions: asked.transmissions,
        tcp: asked.protocol == IPPROTO_TCP,
        name: message.name,
        query_type: message.query_type,
        rcode,
        addresses: message.addresses,
    })
}
