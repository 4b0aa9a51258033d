//! Dropped packets and ICMP errors.

use tracer_common::event::{IcmpError, SkbDrop};

use super::{DecodeError, Names, address, prefix, text, translated};
use crate::event::{Drop, Event, Icmp};
use crate::kernel::decode_stack::{self, Mechanism, Place};

pub(super) fn drop(bytes: &[u8], names: &mut dyn Names) -> Result<Event, DecodeError> {
    let wire: SkbDrop = prefix(bytes)?;
    let packet = &wire.packet;
    let reason = names.drop_reason(wire.reason);
    let location = names.symbol(wire.location);
    let place = place(&wire, location.as_deref(), names);
    let mechanism = reason.as_deref().and_then(|reason| by_reason(reason, place)).or(place.mechanism);
    let device = text(&wire.dev);
    let destination = address(packet.destination, packet.destination_port);
    Ok(Event::Drop(Drop {
        source: address(packet.source, packet.source_port),
        destination,
        original_destination: translated(wire.original_destination, wire.original_port)
            .filter(|original| *original != destination),
        protocol: packet.protocol,
        tcp_flags: packet.tcp_flags,
        reason,
        location,
        hook: place.hook.map(|hook| hook.name().to_owned()),
        mechanism: mechanism.map(|mechanism| name(mechanism).to_owned()),
        netns: wire.netns,
        device: (!device.is_empty()).then_some(device),
        cgroup: wire.cgroup_id,
        tgid: wire.tgid,
    }))
}

/// What the stack says; without one, what the function that freed the packet says.
fn place(wire: &SkbDrop, location: Option<&str>, names: &mut dyn Names) -> Place {
    let frames: Vec<_> =
        wire.stack.iter().take_while(|address| **address != 0).map(|address| names.symbol(*address)).collect();
    let place = decode_stack::decode(frames.iter().map(Option::as_deref));
    if place.mechanism.is_some() {
        return place;
    }
    match location {
        // The hook's caller isn't known, but it is one of netfilter's.
        Some(symbol) if symbol.starts_with("nft_") => Place { mechanism: Some(Mechanism::Nftables), ..place },
        location => Place { hook: place.hook, ..decode_stack::decode([location]) },
    }
}

/// A reason that names its mechanism needs no stack; inside netfilter the stack may know better.
fn by_reason(reason: &str, place: Place) -> Option<Mechanism> {
    Some(match reason {
        "NETFILTER_DROP" => match place.mechanism {
            Some(
                inside @ (Mechanism::Nftables
                | Mechanism::Netfilter
                | Mechanism::Nfqueue
                | Mechanism::Ipvs
                | Mechanism::Conntrack),
            ) => inside,
            _ => Mechanism::Netfilter,
        },
        "TC_INGRESS" => Mechanism::TcIngress,
        "TC_EGRESS" => Mechanism::TcEgress,
        "XDP" => Mechanism::Xdp,
        "BPF_CGROUP_EGRESS" => Mechanism::CgroupBpf,
        "NO_SOCKET" | "SOCKET_FILTER" | "SOCKET_RCVBUFF" | "SOCKET_BACKLOG" | "SOCKET_CLOSE" | "PROTO_MEM" => {
            Mechanism::Socket
        }
        "IP_RPFILTER" | "IP_INNOROUTES" | "IP_OUTNOROUTES" | "IP_INADDRERRORS" | "IP_INHDR" | "IP_LOCALNET"
        | "IP_LOCAL_SOURCE" | "IP_INVALID_SOURCE" | "IP_INVALID_DEST" | "PKT_TOO_BIG" => Mechanism::Routing,
        "FULL_RING" | "CPU_BACKLOG" => Mechanism::Qdisc,
        _ if reason.starts_with("TCP_") => Mechanism::Socket,
        _ if reason.starts_with("NEIGH_") => Mechanism::Neighbour,
        _ if reason.starts_with("QDISC_") => Mechanism::Qdisc,
        _ if reason.starts_with("OVS_") || reason.starts_with("OPENVSWITCH") => Mechanism::OpenVswitch,
        _ => return None,
    })
}

/// As the rules and people know it: which half of a mechanism it was tells the hook or the reason.
fn name(mechanism: Mechanism) -> &'static str {
    match mechanism {
        Mechanism::Nftables | Mechanism::Netfilter => "netfilter",
        Mechanism::Nfqueue => "nfqueue",
        Mechanism::TcIngress | Mechanism::TcEgress => "tc",
        Mechanism::Qdisc => "queue",
        Mechanism::Xdp => "xdp",
        Mechanism::CgroupBpf => "cgroup",
        Mechanism::Socket => "socket",
        Mechanism::Routing => "routing",
        Mechanism::Neighbour => "neighbour",
        Mechanism::Ipvs => "ipvs",
        Mechanism::Conntrack => "conntrack",
        Mechanism::OpenVswitch => "openvswitch",
    }
}

pub(super) fn icmp(bytes: &[u8]) -> Result<Event, DecodeError> {
    let wire: IcmpError = prefix(bytes)?;
    let packet = &wire.packet;
    Ok(Event::Icmp(Icmp {
        source: address(packet.source, packet.source_port),
        destination: address(packet.destination, packet.destination_port),
        protocol: packet.protocol,
        icmp_type: wire.icmp_type,
        icmp_code: wire.icmp_code,
        ipv6: wire.family == 6,
        netns: wire.netns,
    }))
}
