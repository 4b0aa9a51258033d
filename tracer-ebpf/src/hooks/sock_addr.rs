//! `cgroup/connect4` and `connect6` (`BPF_PROG_TYPE_CGROUP_SOCK_ADDR`, since 4.17), observing only: a connect that dies
//! before SYN_SENT (no route, denied, a socket load balancer without backend) is seen nowhere else.

use aya_ebpf::{bindings::bpf_sock_addr, macros::cgroup_sock_addr, programs::SockAddrContext};
use tracer_common::{event::PendingConnect, stats::Stat};

use crate::{
    kernel::{self, IPPROTO_TCP, mapped, read_or_zero},
    maps::{PENDING_CONNECT, count},
};

const ALLOW: i32 = 1;

#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    // SAFETY: a context field.
    let address = unsafe { (*ctx.sock_addr).user_ip4 };
    note(ctx.sock_addr, mapped(address.to_ne_bytes()));
    ALLOW
}

#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    // SAFETY: context fields, read word by word as the verifier wants it.
    let words = unsafe {
        let address = &raw const (*ctx.sock_addr).user_ip6;
        let word = |i: usize| address.cast::<u32>().add(i).read_volatile().to_ne_bytes();
        [word(0), word(1), word(2), word(3)]
    };
    let mut remote = [0u8; 16];
    for (i, word) in words.iter().enumerate() {
        remote[i * 4] = word[0];
        remote[i * 4 + 1] = word[1];
        remote[i * 4 + 2] = word[2];
        remote[i * 4 + 3] = word[3];
    }
    note(ctx.sock_addr, remote);
    ALLOW
}

#[inline(always)]
fn note(ctx: *mut bpf_sock_addr, remote: [u8; 16]) {
    // SAFETY: context fields.
    let (protocol, port) = unsafe { ((*ctx).protocol, (*ctx).user_port) };
    if protocol != u32::from(IPPROTO_TCP) {
        return;
    }
    let task = kernel::current();
    let pending = PendingConnect {
        at_ns: kernel::now(),
        cgroup_id: kernel::task_cgroup(task),
        remote,
        remote_port: u16::from_be(port as u16),
        pad: 0,
        netns: task_netns(task),
        comm: kernel::task_comm(task),
    };
    if PENDING_CONNECT.insert(kernel::task_actor(task), pending, 0).is_err() {
        count(Stat::LostPending);
    }
}

/// Inode of a task's network namespace.
#[inline(always)]
fn task_netns(task: u64) -> u32 {
    let proxy: u64 = read_or_zero(task, crate::globals::offset!(task_nsproxy));
    let net: u64 = read_or_zero(proxy, crate::globals::offset!(nsproxy_net));
    read_or_zero(net, crate::globals::offset!(net_inum))
}
