//! Packet headers as `cgroup_skb` shows them: `skb->data` is at the IP header, TCP payload is never linear.

use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_skb_load_bytes};

use crate::kernel::{IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP, mapped};

const ETH_P_IP: u32 = 0x0800;
const ETH_P_IPV6: u32 = 0x86dd;

pub(crate) mod tcp_flag {
    pub(crate) const SYN: u8 = 2;
}

/// What the programs need of a packet's headers.
pub(crate) struct Packet {
    pub source: [u8; 16],
    pub destination: [u8; 16],
    pub source_port: u16,
    pub destination_port: u16,
    pub protocol: u8,
    pub tcp_flags: u8,
    pub seq: u32,
    pub ack: u32,
    /// Offset of the payload from the IP header.
    pub payload: u32,
    pub payload_len: u32,
}

/// Loads a fixed number of bytes.
#[inline(always)]
pub(crate) fn load<const N: usize>(skb: *mut __sk_buff, offset: u32) -> Option<[u8; N]> {
    let mut bytes = [0u8; N];
    // SAFETY: the helper checks offset and length against the packet.
    let result = unsafe { bpf_skb_load_bytes(skb.cast(), offset, bytes.as_mut_ptr().cast(), N as u32) };
    (result == 0).then_some(bytes)
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Parses IPv4 or IPv6 and TCP or UDP. Both headers and the first 12 bytes of a DNS message are at least 40 (IPv4) or
/// 60 (IPv6) bytes, so one load serves. Packets with IP options or extension headers give `None`: sockets of
/// applications don't send them.
#[inline(always)]
pub(crate) fn parse(skb: *mut __sk_buff) -> Option<Packet> {
    // SAFETY: context fields.
    let (protocol, len) = unsafe { (u16::from_be((*skb).protocol as u16), (*skb).len) };
    match u32::from(protocol) {
        ETH_P_IP => {
            let bytes: [u8; 40] = load(skb, 0)?;
            if bytes[0] != 0x45 {
                return None;
            }
            let source = mapped([bytes[12], bytes[13], bytes[14], bytes[15]]);
            let destination = mapped([bytes[16], bytes[17], bytes[18], bytes[19]]);
            transport(source, destination, bytes[9], 20, len, &bytes)
        }
        ETH_P_IPV6 => {
            let bytes: [u8; 60] = load(skb, 0)?;
            let mut source = [0; 16];
            let mut destination = [0; 16];
            source.copy_from_slice(&bytes[8..24]);
            destination.copy_from_slice(&bytes[24..40]);
            transport(source, destination, bytes[6], 40, len, &bytes)
        }
        _ => None,
    }
}

#[inline(always)]
fn transport<const N: usize>(
    source: [u8; 16],
    destination: [u8; 16],
    protocol: u8,
    at: usize,
    len: u32,
    bytes: &[u8; N],
) -> Option<Packet> {
    let header = match protocol {
        IPPROTO_TCP => u32::from(bytes[at + 12] >> 4) * 4,
        IPPROTO_UDP => 8,
        IPPROTO_ICMPV6 => 8,
        _ => return None,
    };
    let payload = at as u32 + header;
    if len < payload {
        return None;
    }
    Some(Packet {
        source,
        destination,
        source_port: be16(bytes, at),
        destination_port: be16(bytes, at + 2),
        protocol,
        tcp_flags: bytes[at + 13],
        seq: be32(bytes, at + 4),
        ack: be32(bytes, at + 8),
        payload,
        payload_len: len - payload,
    })
}
