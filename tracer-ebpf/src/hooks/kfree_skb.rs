//! `raw_tp/kfree_skb(skb, location[, reason[, rx_sk]])`: a packet freed as a drop (`net/core/skbuff.c`). The reason is
//! there from 5.17 (and back-ports), the receiving socket from 6.11.

use aya_ebpf::{
    EbpfContext, helpers::generated::bpf_get_stack, macros::raw_tracepoint, programs::RawTracePointContext,
};
use tracer_common::{
    config::{DROP_ACTIONS, drop_action},
    event::{PacketTuple, SkbDrop, kind},
    limits::STACK_DEPTH,
};

use crate::{
    emit::{self, Ring},
    globals::{config, offset},
    kernel::{self, IPPROTO_TCP, IPPROTO_UDP, mapped, read, read_or_zero},
    maps::{DROP_ACTION, DROP_SEEN},
};

/// A flow's drops are reported once per this many nanoseconds.
const QUIET_NS: u64 = 200_000_000;
const NO_REASON: u32 = u32::MAX;

#[raw_tracepoint(tracepoint = "kfree_skb")]
pub fn kfree_skb(ctx: RawTracePointContext) -> i32 {
    let skb: u64 = ctx.arg(0);
    let location: u64 = ctx.arg(1);
    let reason = if config!(kfree_skb_args) >= 3 { ctx.arg::<u32>(2) } else { NO_REASON };
    let receiver = if config!(kfree_skb_args) >= 4 { ctx.arg::<u64>(3) } else { 0 };
    let action = if reason == NO_REASON {
        drop_action::REPORT_STACK
    } else if reason < DROP_ACTIONS {
        DROP_ACTION.get(reason).copied().unwrap_or(drop_action::IGNORE)
    } else {
        drop_action::REPORT
    };
    if action == drop_action::IGNORE {
        return 0;
    }
    let packet = packet(skb);
    if packet.protocol != IPPROTO_TCP && packet.protocol != IPPROTO_UDP {
        return 0;
    }
    let now = kernel::now();
    if let Some(seen) = DROP_SEEN.get_ptr_mut(packet) {
        // SAFETY: a live map value.
        unsafe {
            if now.wrapping_sub(*seen) < QUIET_NS {
                return 0;
            }
            *seen = now;
        }
    } else {
        let _ = DROP_SEEN.insert(packet, now, 0);
    }
    let Some(mut entry) = emit::reserve::<SkbDrop>(Ring::Failures, kind::KFREE_SKB) else { return 0 };
    // SAFETY: reserved ring memory of that size.
    unsafe {
        let event: &mut SkbDrop = &mut *core::mem::MaybeUninit::as_mut_ptr(&mut entry);
        event.header = emit::header::<SkbDrop>(kind::KFREE_SKB);
        event.packet = packet;
        let own: u64 = read_or_zero(skb, offset!(skb_sk));
        event.sock = if own != 0 { own } else { receiver };
        event.cgroup_id = kernel::sock_cgroup(event.sock);
        event.location = location;
        event.reason = reason;
        let dev: u64 = read_or_zero(skb, offset!(skb_dev));
        event.ifindex = read_or_zero(dev, offset!(dev_ifindex));
        event.dev = read_or_zero(dev, offset!(dev_name));
        event.netns = dev_netns(skb);
        // OUTPUT and the inside of TCP leave no device: then the socket knows.
        if event.netns == 0 {
            event.netns = kernel::sock_netns(event.sock);
        }
        event.tgid = kernel::current_actor().tgid;
        before_nat(skb, event);
        // Cilium leaves five words from the ninth byte on (bpf/lib/drop.h).
        event.cb = read_or_zero(skb, offset!(skb_cb).wrapping_add(8));
        event.pad = [0; 6];
        event.pad2 = 0;
        event.stack = [0; STACK_DEPTH];
        if action == drop_action::REPORT_STACK {
            bpf_get_stack(ctx.as_ptr(), event.stack.as_mut_ptr().cast(), (STACK_DEPTH * 8) as u32, 0);
        }
    }
    entry.submit(0);
    0
}

/// What the packet was sent to before destination NAT: its conntrack entry's original tuple.
#[inline(always)]
fn before_nat(skb: u64, event: &mut SkbDrop) {
    event.original_destination = [0; 16];
    event.original_port = 0;
    // The low three bits are flags (`NFCT_INFOMASK`).
    let conntrack = read_or_zero::<u64>(skb, offset!(skb_nfct)) & !7;
    let Some(address) = read::<[u8; 16]>(conntrack, offset!(nf_conn_orig_dst)) else { return };
    let v4 = event.packet.source[..12] == mapped([0; 4])[..12];
    event.original_destination = if v4 { mapped([address[0], address[1], address[2], address[3]]) } else { address };
    event.original_port = u16::from_be(read_or_zero(conntrack, offset!(nf_conn_orig_dport)));
}

/// Inode of the network namespace of a packet's device, 0 without one.
#[inline(always)]
pub(crate) fn dev_netns(skb: u64) -> u32 {
    let dev: u64 = read_or_zero(skb, offset!(skb_dev));
    read_or_zero::<u32>(read_or_zero::<u64>(dev, offset!(dev_net)), offset!(net_inum))
}

/// Addresses and ports from a packet's headers. The transport header's offset is often stale in the `sk_buff`, so it is
/// computed from the IP header.
#[inline(always)]
pub(crate) fn packet(skb: u64) -> PacketTuple {
    let mut tuple = PacketTuple::default();
    let head: u64 = read_or_zero(skb, offset!(skb_head));
    let network: u16 = read_or_zero(skb, offset!(skb_network_header));
    if head == 0 || network == u16::MAX {
        return tuple;
    }
    let ip = head + u64::from(network);
    let Some(start) = read::<[u8; 40]>(ip, 0) else { return tuple };
    let transport = match start[0] >> 4 {
        4 => {
            tuple.protocol = start[9];
            tuple.source = mapped([start[12], start[13], start[14], start[15]]);
            tuple.destination = mapped([start[16], start[17], start[18], start[19]]);
            ip + u64::from(start[0] & 15) * 4
        }
        6 => {
            tuple.protocol = start[6];
            tuple.source.copy_from_slice(&start[8..24]);
            tuple.destination.copy_from_slice(&start[24..40]);
            ip + 40
        }
        _ => return tuple,
    };
    let Some(ports) = read::<[u8; 14]>(transport, 0) else { return tuple };
    tuple.source_port = u16::from_be_bytes([ports[0], ports[1]]);
    tuple.destination_port = u16::from_be_bytes([ports[2], ports[3]]);
    if tuple.protocol == IPPROTO_TCP {
        tuple.tcp_flags = ports[13];
    }
    tuple
}
