//! DNS messages: a query waits in a map until its answer; one that waits too long is found by user space's sweep.

use aya_ebpf::bindings::__sk_buff;
use tracer_common::{
    Tuple,
    conn::role,
    event::{Dns, DnsKey, kind},
    limits::DNS_MESSAGE,
    stats::Stat,
};

use crate::{
    emit::{self, Ring},
    http::SENT,
    kernel,
    maps::{DNS_PENDING, ZERO_DNS, count},
    packet::{self, Packet},
};

pub(crate) const DNS_PORT: u16 = 53;
/// QR bit of the third header byte (RFC 1035 section 4.1.1).
const RESPONSE: u8 = 0x80;
const RCODE: u8 = 0x0f;

/// Where the message begins in a TCP segment: behind its two-byte length (RFC 1035 section 4.2.2), unless that was sent in
/// a segment of its own. Then its question count, one, stands where the flags would; no message has such flags.
#[inline(always)]
pub(crate) fn over_tcp(skb: *mut __sk_buff, packet: &Packet) -> u32 {
    match packet::load::<[u8; 2]>(skb, packet.payload + 4) {
        Some([0, 1]) => packet.payload,
        _ => packet.payload + 2,
    }
}

/// Looks at a DNS message at `at` bytes from the IP header.
#[inline(always)]
pub(crate) fn message(skb: *mut __sk_buff, sock: u64, packet: &Packet, at: u32, direction: usize) {
    let Some(header) = packet::load::<[u8; 12]>(skb, at) else { return };
    let response = header[2] & RESPONSE != 0;
    // A client sends queries to port 53 and gets responses from it; a server the other way round. Anything else is the middle
    // of a TCP stream.
    let (own_port, peer_port) = if direction == SENT {
        (packet.source_port, packet.destination_port)
    } else {
        (packet.destination_port, packet.source_port)
    };
    let server = (direction == SENT) == response;
    if (if server { own_port } else { peer_port }) != DNS_PORT {
        return;
    }
    let mut key = DnsKey {
        sock,
        peer: [0; 16],
        peer_port: 0,
        id: u16::from_be_bytes([header[0], header[1]]),
        role: u32::from(if server { role::SERVER } else { role::CLIENT }),
    };
    if server {
        key.peer = if direction == SENT { packet.destination } else { packet.source };
        key.peer_port = peer_port;
    }
    if response { answer(skb, &key, at, header[3] & RCODE) } else { query(skb, &key, packet, at, direction) }
}

/// Captures the message; gives its captured length.
///
/// # Safety
/// `to` must have room for [`DNS_MESSAGE`] bytes.
#[inline(always)]
unsafe fn capture(skb: *mut __sk_buff, at: u32, to: *mut u8) -> u16 {
    // SAFETY: a context field, and the caller's promise.
    unsafe {
        let len = (*skb).len.wrapping_sub(at);
        packet::load_up_to::<{ DNS_MESSAGE as u64 }>(skb, at, to, len).unwrap_or(0) as u16
    }
}

#[inline(always)]
fn query(skb: *mut __sk_buff, key: &DnsKey, packet: &Packet, at: u32, direction: usize) {
    if let Some(pending) = DNS_PENDING.get_ptr_mut(key) {
        // SAFETY: a live map value.
        unsafe { (*pending).transmissions += 1 };
        return;
    }
    if DNS_PENDING.insert(key, &ZERO_DNS, 0).is_err() {
        return count(Stat::LostDnsQuery);
    }
    let Some(pending) = DNS_PENDING.get_ptr_mut(key) else { return };
    // SAFETY: a live map value.
    let pending = unsafe { &mut *pending };
    let address = kernel::address(key.sock);
    pending.cgroup_id = kernel::sock_cgroup(address);
    pending.tuple = if direction == SENT {
        Tuple {
            local: packet.source,
            remote: packet.destination,
            local_port: packet.source_port,
            remote_port: packet.destination_port,
            netns: kernel::sock_netns(address),
        }
    } else {
        Tuple {
            local: packet.destination,
            remote: packet.source,
            local_port: packet.destination_port,
            remote_port: packet.source_port,
            netns: kernel::sock_netns(address),
        }
    };
    if direction == SENT {
        let task = kernel::current();
        pending.actor = kernel::task_actor(task);
        pending.comm = kernel::task_comm(task);
    }
    pending.transmissions = 1;
    pending.protocol = u16::from(packet.protocol);
    // SAFETY: the message's room.
    pending.len = unsafe { capture(skb, at, pending.message.as_mut_ptr()) };
    // Last, because the sweep takes entries by age.
    pending.start_ns = kernel::now();
}

#[inline(always)]
fn answer(skb: *mut __sk_buff, key: &DnsKey, at: u32, rcode: u8) {
    let Some(pending) = DNS_PENDING.get_ptr(key) else { return };
    // A good answer seen by the server is of no further use: the client's view names the address.
    if rcode == 0 && key.role == u32::from(role::SERVER) {
        let _ = DNS_PENDING.remove(key);
        return;
    }
    let ring = if rcode == 0 { Ring::Events } else { Ring::Failures };
    if let Some(mut entry) = emit::reserve::<Dns>(ring, kind::DNS) {
        // SAFETY: reserved ring memory of that size, and a live map value.
        unsafe {
            let event: *mut Dns = core::mem::MaybeUninit::as_mut_ptr(&mut entry);
            let pending = &*pending;
            (*event).header = emit::header::<Dns>(kind::DNS);
            (*event).key = *key;
            (*event).start_ns = pending.start_ns;
            (*event).cgroup_id = pending.cgroup_id;
            (*event).tuple = pending.tuple;
            (*event).actor = pending.actor;
            (*event).comm = pending.comm;
            (*event).transmissions = pending.transmissions;
            (*event).protocol = pending.protocol;
            (*event).len = capture(skb, at, (&raw mut (*event).message).cast());
        }
        entry.submit(0);
    }
    let _ = DNS_PENDING.remove(key);
}
