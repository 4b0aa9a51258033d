//! `cgroup_skb` ingress and egress: every packet of a local socket, after NAT and netfilter of its own namespace
//! (`net/ipv4/ip_output.c` `ip_finish_output`, `net/core/filter.c` `sk_filter_trim_cap`). Since 4.10.

use aya_ebpf::{bindings::__sk_buff, macros::cgroup_skb, programs::SkBuffContext};
use tracer_common::event::{IcmpError, PacketTuple, kind};

use crate::{
    conn,
    emit::{self, Ring},
    hooks::{
        dns::{self, DNS_PORT},
        syn,
        tcp_signals::may_be_waited_for,
    },
    http::{self, RECEIVED, SENT},
    kernel::{self, IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP},
    packet::{self, Packet, tcp_flag},
};

const ALLOW: i32 = 1;

#[cgroup_skb]
#[inline(always)]
pub fn ingress(ctx: SkBuffContext) -> i32 {
    look(ctx.skb.skb, RECEIVED);
    ALLOW
}

#[cgroup_skb]
#[inline(always)]
pub fn egress(ctx: SkBuffContext) -> i32 {
    look(ctx.skb.skb, SENT);
    ALLOW
}

#[inline(always)]
fn look(skb: *mut __sk_buff, direction: usize) {
    let Some(packet) = packet::parse(skb) else { return };
    if packet.protocol == IPPROTO_ICMPV6 {
        if direction == SENT {
            icmp6_error(skb, packet.payload_len);
        }
        return;
    }
    let sock = packet::sock(skb);
    if sock == 0 {
        return;
    }
    let dns = packet.source_port == DNS_PORT || packet.destination_port == DNS_PORT;
    if packet.protocol == IPPROTO_UDP {
        if dns {
            dns::message(skb, sock, &packet, packet.payload, direction);
        }
        return;
    }
    if packet.protocol != IPPROTO_TCP {
        return;
    }
    if packet.payload_len == 0 {
        if packet.tcp_flags & tcp_flag::SYN != 0 {
            let answer = packet.tcp_flags & tcp_flag::ACK != 0;
            match (direction, answer) {
                (SENT, false) => syn_sent(sock, &packet),
                (SENT, true) => syn::answered(sock, &packet),
                (_, false) => syn::received(sock, &packet),
                _ => {}
            }
        }
        return;
    }
    if dns {
        dns::message(skb, sock, &packet, dns::over_tcp(skb, &packet), direction);
        return;
    }
    http::segment(skb, sock, &packet, direction);
}

/// A SYN leaves: now the source port is known, and the address that the packet really goes to.
#[inline(always)]
fn syn_sent(sock: u64, packet: &Packet) {
    let Some(record) = conn::find(sock) else { return };
    // SAFETY: a live map value.
    let record = unsafe { &mut *record };
    record.tuple.local = packet.source;
    record.tuple.local_port = packet.source_port;
    if packet.destination != record.tuple.remote || packet.destination_port != record.tuple.remote_port {
        record.nat_remote = packet.destination;
        record.nat_remote_port = packet.destination_port;
    }
}

/// ICMPv6 destination unreachable (RFC 4443 section 3.1) that this kernel sends: no tracepoint exists for it
/// (`trace_icmp_send` is IPv4 only), but it passes here with the offending packet quoted. Rare: it needn't stand in every
/// packet's stack.
#[inline(never)]
fn icmp6_error(skb: *mut __sk_buff, payload_len: u32) {
    const DESTINATION_UNREACHABLE: u8 = 1;
    let Some(icmp) = packet::load::<[u8; 2]>(skb, 40) else { return };
    if icmp[0] != DESTINATION_UNREACHABLE || payload_len < 44 {
        return;
    }
    // The quoted packet begins behind 40 bytes of IPv6 and 8 of ICMPv6.
    let Some(next_header) = packet::load::<[u8; 1]>(skb, 48 + 6) else { return };
    let Some(source) = packet::load(skb, 48 + 8) else { return };
    let Some(destination) = packet::load(skb, 48 + 24) else { return };
    let Some(ports) = packet::load::<[u16; 2]>(skb, 48 + 40) else { return };
    let tuple = PacketTuple {
        source,
        destination,
        source_port: u16::from_be(ports[0]),
        destination_port: u16::from_be(ports[1]),
        protocol: next_header[0],
        ..Default::default()
    };
    if !may_be_waited_for(&tuple) {
        return;
    }
    // SAFETY: a context field.
    let ifindex = unsafe { (*skb).ifindex };
    emit::emit(
        Ring::Failures,
        IcmpError {
            header: emit::header::<IcmpError>(kind::ICMP_SEND),
            packet: tuple,
            netns: kernel::sock_netns(kernel::address(packet::sock(skb))),
            ifindex,
            icmp_type: icmp[0],
            icmp_code: icmp[1],
            family: 6,
            pad: [0; 5],
        },
    );
}
