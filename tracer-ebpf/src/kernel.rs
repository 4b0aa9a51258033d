//! Typed readers of kernel structures over the injected offsets; the only place that dereferences kernel addresses.
//! Reads go through `bpf_probe_read_kernel`: a bad address gives `None`, never a fault (typed `tp_btf` reads can panic
//! kernels 6.5 and 6.8 on a NULL argument).

use aya_ebpf::helpers::{bpf_get_current_task, bpf_probe_read_kernel, generated};
use tracer_common::{Actor, Tuple};

use crate::globals::{config, offset};

pub(crate) const AF_INET: u16 = 2;
pub(crate) const AF_INET6: u16 = 10;
pub(crate) const IPPROTO_TCP: u8 = 6;
pub(crate) const IPPROTO_UDP: u8 = 17;
pub(crate) const IPPROTO_ICMPV6: u8 = 58;

/// `enum` of `include/net/tcp_states.h`, UAPI-stable through `struct tcp_info`.
pub(crate) mod state {
    pub(crate) const ESTABLISHED: u32 = 1;
    pub(crate) const SYN_SENT: u32 = 2;
    pub(crate) const SYN_RECV: u32 = 3;
    pub(crate) const FIN_WAIT1: u32 = 4;
    pub(crate) const FIN_WAIT2: u32 = 5;
    pub(crate) const CLOSE: u32 = 7;
    pub(crate) const CLOSE_WAIT: u32 = 8;
    pub(crate) const LAST_ACK: u32 = 9;
    pub(crate) const LISTEN: u32 = 10;
    pub(crate) const CLOSING: u32 = 11;
}

/// State of a socket.
#[inline(always)]
pub(crate) fn sock_state(sock: u64) -> u32 {
    u32::from(read_or_zero::<u8>(sock, offset!(skc_state)))
}

/// Reads a value at `base + offset`.
#[inline(always)]
pub(crate) fn read<T>(base: u64, offset: u32) -> Option<T> {
    if base == 0 || offset == tracer_common::config::ABSENT {
        return None;
    }
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel((base + u64::from(offset)) as *const T).ok() }
}

/// Reads a value, zero where it can't be read.
#[inline(always)]
pub(crate) fn read_or_zero<T: Default>(base: u64, offset: u32) -> T {
    read(base, offset).unwrap_or_default()
}

/// An IPv4 address (network order bytes) as IPv4-mapped IPv6.
#[inline(always)]
pub(crate) fn mapped(v4: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, v4[0], v4[1], v4[2], v4[3]]
}

/// Inode of a socket's network namespace.
#[inline(always)]
pub(crate) fn sock_netns(sock: u64) -> u32 {
    read_or_zero::<u32>(read_or_zero::<u64>(sock, offset!(skc_net)), offset!(net_inum))
}

/// The socket's own view of its tuple. The local port comes from `inet_sport`, which outlives the unhashing at CLOSE.
#[inline(always)]
pub(crate) fn sock_tuple(sock: u64, tuple: &mut Tuple) {
    let family: u16 = read_or_zero(sock, offset!(skc_family));
    if family == AF_INET6 {
        tuple.local = read_or_zero(sock, offset!(skc_v6_rcv_saddr));
        tuple.remote = read_or_zero(sock, offset!(skc_v6_daddr));
    } else {
        tuple.local = mapped(read_or_zero(sock, offset!(skc_rcv_saddr)));
        tuple.remote = mapped(read_or_zero(sock, offset!(skc_daddr)));
    }
    tuple.local_port = u16::from_be(read_or_zero(sock, offset!(inet_sport)));
    if tuple.local_port == 0 {
        tuple.local_port = read_or_zero(sock, offset!(skc_num));
    }
    tuple.remote_port = u16::from_be(read_or_zero(sock, offset!(skc_dport)));
    tuple.netns = sock_netns(sock);
}

/// `IPPROTO_*` of a socket.
#[inline(always)]
pub(crate) fn sock_protocol(sock: u64) -> u8 {
    // A u16 since 5.6; little-endian targets only, so its first byte is the protocol (IPPROTO_MPTCP aside).
    read_or_zero::<u8>(sock, offset!(sk_protocol))
}

/// cgroup v2 id of a socket.
#[inline(always)]
pub(crate) fn sock_cgroup(sock: u64) -> u64 {
    cgroup_id(read_or_zero(sock, offset!(sk_cgroup)))
}

/// Id (inode) of a `struct cgroup`.
#[inline(always)]
pub(crate) fn cgroup_id(cgroup: u64) -> u64 {
    read_or_zero(read_or_zero(cgroup, offset!(cgroup_kn)), offset!(kernfs_id))
}

/// Whether a `struct cgroup` is of version 2, whose hierarchy has the number 0 (cgroups(7), `/proc/PID/cgroup`).
#[inline(always)]
pub(crate) fn is_cgroup2(cgroup: u64) -> bool {
    read_or_zero::<i32>(read_or_zero(cgroup, offset!(cgroup_root)), offset!(cgroup_root_hierarchy)) == 0
}

/// cgroup v2 id of a task.
#[inline(always)]
pub(crate) fn task_cgroup(task: u64) -> u64 {
    cgroup_id(read_or_zero(read_or_zero(task, offset!(task_cgroups)), offset!(css_set_dfl_cgrp)))
}

/// The current task.
#[inline(always)]
pub(crate) fn current() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_get_current_task() }
}

/// Process and thread id of a task, as the node's `/proc` numbers them.
#[inline(always)]
pub(crate) fn task_actor(task: u64) -> Actor {
    if config!(pid_namespace) != 0 {
        let tgid = number(read_or_zero(task, offset!(task_group_leader)));
        return Actor { tgid, tid: number(task) };
    }
    // They stand beside each other in every kernel so far: one read instead of two.
    if offset!(task_tgid) == offset!(task_pid).wrapping_add(4) {
        let both: u64 = read_or_zero(task, offset!(task_pid));
        return Actor { tgid: (both >> 32) as u32, tid: both as u32 };
    }
    Actor { tgid: read_or_zero(task, offset!(task_tgid)), tid: read_or_zero(task, offset!(task_pid)) }
}

/// A task's number in the PID namespace of a node that is a container itself, as `kind` makes them; 0 outside of it. A
/// `struct pid` holds a `struct upid` (number, namespace) for each level, of which the first is the initial namespace's
/// (`include/linux/pid.h`).
#[inline(always)]
fn number(task: u64) -> u32 {
    const LEVELS: u32 = 4;
    const UPID: u32 = 16;
    const NAMESPACE: u32 = 8;
    let pid: u64 = read_or_zero(task, offset!(task_thread_pid));
    let level: u32 = read_or_zero(pid, offset!(pid_level));
    for at in 1..=LEVELS {
        if at > level {
            break;
        }
        let upid = offset!(pid_numbers).wrapping_add(at * UPID);
        let namespace: u64 = read_or_zero(pid, upid.wrapping_add(NAMESPACE));
        if read_or_zero::<u32>(namespace, offset!(pid_namespace_inum)) == config!(pid_namespace) {
            return read_or_zero(pid, upid);
        }
    }
    0
}

/// The current process and thread, where `bpf_get_current_pid_tgid` is to be had: in raw tracepoints on every kernel.
#[inline(always)]
pub(crate) fn current_actor() -> Actor {
    if config!(pid_namespace) != 0 {
        return task_actor(current());
    }
    // SAFETY: no arguments.
    let both = unsafe { generated::bpf_get_current_pid_tgid() };
    Actor { tgid: (both >> 32) as u32, tid: both as u32 }
}

/// The same at a packet, where older kernels don't have the helper.
#[inline(always)]
pub(crate) fn packet_actor() -> Actor {
    if config!(packet_pid_tgid) != 0 { current_actor() } else { task_actor(current()) }
}

#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: no arguments.
    unsafe { generated::bpf_ktime_get_ns() }
}

/// The time in ticks (1 to 10 ms), where the kernel has it: enough for when a connection was last used.
#[inline(always)]
pub(crate) fn coarse_now() -> u64 {
    if config!(packet_coarse_clock) == 0 {
        return now();
    }
    // SAFETY: no arguments.
    unsafe { generated::bpf_ktime_get_coarse_ns() }
}

/// Command name of a task.
#[inline(always)]
pub(crate) fn task_comm(task: u64) -> [u8; 16] {
    read_or_zero(task, offset!(task_comm))
}

/// Only the local end and port: addresses of a failing connect stay as they were when it began.
#[inline(always)]
pub(crate) fn sock_tuple_ports(sock: u64, tuple: &mut Tuple) {
    let port = u16::from_be(read_or_zero(sock, offset!(inet_sport)));
    if port != 0 {
        tuple.local_port = port;
    }
}

/// Only the remote end, of anything that begins with a `sock_common`.
#[inline(always)]
pub(crate) fn sock_tuple_remote(sock: u64, tuple: &mut Tuple) {
    let family: u16 = read_or_zero(sock, offset!(skc_family));
    tuple.remote = if family == AF_INET6 {
        read_or_zero(sock, offset!(skc_v6_daddr))
    } else {
        mapped(read_or_zero(sock, offset!(skc_daddr)))
    };
    tuple.remote_port = u16::from_be(read_or_zero(sock, offset!(skc_dport)));
}

/// The lower half of an address. Of what the verifier knows as a pointer this move, and no other, makes a number that may be
/// counted with (`kernel/bpf/verifier.c` `check_alu_op`).
#[inline(always)]
pub(crate) fn lower_half(address: u64) -> u64 {
    let mut half = address;
    // SAFETY: a move of a register to itself.
    unsafe { core::arch::asm!("w1 = w1", inout("r1") half, options(nomem, nostack, preserves_flags)) };
    half
}

/// A value of which the verifier knows nothing any more. For a socket that it knows as a pointer: arithmetic on it is
/// refused otherwise.
#[inline(always)]
pub(crate) fn address(sock: u64) -> u64 {
    // SAFETY: reads this program's own stack.
    unsafe { bpf_probe_read_kernel(core::ptr::from_ref(&sock)).unwrap_or(0) }
}
