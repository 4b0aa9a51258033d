//! Packet headers as `cgroup_skb` shows them: `skb->data` is at the IP header, TCP payload is never linear.

use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_skb_load_bytes};

use crate::kernel::{IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP};

const ETH_P_IP: u32 = 0x0800;
const ETH_P_IPV6: u32 = 0x86dd;
const HOP_BY_HOP: u8 = 0;

pub(crate) mod tcp_flag {
    pub(crate) const SYN: u8 = 2;
    pub(crate) const ACK: u8 = 16;
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

/// The packet's socket, 0 if it has none. Always a full one: these hooks don't run for others, and give requests and the like
/// their listener (`kernel/bpf/cgroup.c` `__cgroup_bpf_run_filter_skb`, 5.10 to 6.18).
#[inline(always)]
pub(crate) fn sock(skb: *mut __sk_buff) -> u64 {
    // SAFETY: a context field.
    unsafe { (*skb).__bindgen_anon_2.sk as u64 }
}

/// Loads a fixed number of bytes.
#[inline(always)]
pub(crate) fn load<T: Default>(skb: *mut __sk_buff, offset: u32) -> Option<T> {
    let mut value = T::default();
    // SAFETY: only used for arrays of integers; the helper checks offset and length against the packet.
    let result = unsafe { bpf_skb_load_bytes(skb.cast(), offset, (&raw mut value).cast(), size_of::<T>() as u32) };
    (result == 0).then_some(value)
}

/// Reads the headers. They are linear, so this needs no helper, but for what a few odd paths leave in fragments.
#[inline(always)]
fn headers<T: Copy + Default>(skb: *mut __sk_buff) -> Option<T> {
    // SAFETY: context fields; what is read lies before the end of the linear part, as the verifier wants it.
    unsafe {
        let begin = (*skb).data as usize;
        if begin + size_of::<T>() <= (*skb).data_end as usize {
            return Some((begin as *const T).read());
        }
    }
    load(skb, 0)
}

/// The address in four words, as bytes.
#[inline(always)]
fn address(words: [u32; 4]) -> [u8; 16] {
    // SAFETY: both are 16 bytes without padding.
    unsafe { core::mem::transmute(words) }
}

/// Parses IPv4 or IPv6 and TCP or UDP. Both headers and the first 12 bytes of a DNS message are at least 40 (IPv4) or
/// 60 (IPv6) bytes, so one load serves. Packets with IP options or other extension headers than a long one's give `None`: sockets of
/// applications don't send them. Words instead of bytes: the compiler would spill each byte to eight bytes of stack.
#[inline(always)]
pub(crate) fn parse(skb: *mut __sk_buff) -> Option<Packet> {
    // SAFETY: context fields.
    let (protocol, len) = unsafe { (u16::from_be((*skb).protocol as u16), (*skb).len) };
    match u32::from(protocol) {
        ETH_P_IP => {
            let words: [u32; 10] = headers(skb)?;
            if words[0] & 0xff != 0x45 {
                return None;
            }
            let mapped = u32::from_le_bytes([0, 0, 0xff, 0xff]);
            let transport = [words[5], words[6], words[7], words[8]];
            Packet::new([0, 0, mapped, words[3]], [0, 0, mapped, words[4]], (words[2] >> 8) as u8, 20, len, transport)
        }
        ETH_P_IPV6 => {
            let words: [u32; 15] = headers(skb)?;
            let source = [words[2], words[3], words[4], words[5]];
            let destination = [words[6], words[7], words[8], words[9]];
            let protocol = (words[1] >> 16) as u8;
            if protocol == HOP_BY_HOP {
                return behind_options(skb, source, destination, words[10], len);
            }
            let transport = [words[10], words[11], words[12], words[13]];
            Packet::new(source, destination, protocol, 40, len, transport)
        }
        _ => None,
    }
}

/// A packet of more than 64 KiB has eight bytes of options, which say how long it is (RFC 2675; since 5.19, where the device is told
/// to take such).
#[inline(always)]
fn behind_options(
    skb: *mut __sk_buff,
    source: [u32; 4],
    destination: [u32; 4],
    options: u32,
    len: u32,
) -> Option<Packet> {
    let (protocol, longer_by) = (options as u8, (options >> 8) as u8);
    if longer_by != 0 {
        return None;
    }
    Packet::new(source, destination, protocol, 48, len, load(skb, 48)?)
}

impl Packet {
    /// `transport` is the first 16 bytes behind the IP header of `at` bytes.
    #[inline(always)]
    fn new(
        source: [u32; 4],
        destination: [u32; 4],
        protocol: u8,
        at: u32,
        len: u32,
        transport: [u32; 4],
    ) -> Option<Self> {
        let header = match protocol {
            IPPROTO_TCP => (transport[3] & 0xf0) >> 2,
            IPPROTO_UDP | IPPROTO_ICMPV6 => 8,
            _ => return None,
        };
        let payload = at + header;
        if len < payload {
            return None;
        }
        Some(Self {
            source: address(source),
            destination: address(destination),
            source_port: u16::from_be(transport[0] as u16),
            destination_port: u16::from_be((transport[0] >> 16) as u16),
            protocol,
            tcp_flags: (transport[3] >> 8) as u8,
            seq: u32::from_be(transport[1]),
            ack: u32::from_be(transport[2]),
            payload,
            payload_len: len - payload,
        })
    }
}

/// Hides a value's origin from the compiler, not from the verifier.
#[inline(always)]
pub(crate) fn opaque(value: u64) -> u64 {
    let mut value = value;
    // SAFETY: a move to itself. (Empty assembly would give two line-info records for one instruction.)
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Loads `len` bytes, at most `MAX`, to `to`; gives how many. The verifier must see `0 < n` and `n <= MAX` of one register.
/// Before 6.8 it learns no lower bound from a comparison with zero, but it does from adding one to what is below `MAX`.
/// LLVM would merge these steps into a range check that the verifier doesn't understand.
///
/// # Safety
/// `to` must have room for `MAX` bytes.
#[inline(always)]
pub(crate) unsafe fn load_up_to<const MAX: u64>(
    skb: *mut __sk_buff,
    offset: u32,
    to: *mut u8,
    len: u32,
) -> Option<u32> {
    let mut n = opaque(u64::from(len));
    if n > MAX {
        n = MAX;
    }
    // Of nothing this is the largest number.
    let before_last = opaque(opaque(n).wrapping_sub(1));
    if before_last >= MAX {
        return None;
    }
    let n = opaque(opaque(before_last) + 1);
    // SAFETY: the caller's promise; the helper checks the packet's side.
    let result = unsafe { bpf_skb_load_bytes(skb.cast(), offset, to.cast(), n as u32) };
    (result == 0).then_some(n as u32)
}
