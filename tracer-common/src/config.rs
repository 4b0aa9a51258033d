//! What user space injects as read-only globals before load.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An offset that the running kernel doesn't have.
pub const ABSENT: u32 = u32::MAX;

/// Byte offsets of the fields that the programs read, from the running kernel's BTF ([`ABSENT`] where it has none).
/// Nested members are summed: `sk_cgroup` is `sock.sk_cgrp_data.cgroup`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Offsets {
    pub skc_family: u32,
    pub skc_state: u32,
    pub skc_num: u32,
    pub skc_dport: u32,
    pub skc_daddr: u32,
    pub skc_rcv_saddr: u32,
    pub skc_v6_daddr: u32,
    pub skc_v6_rcv_saddr: u32,
    pub skc_net: u32,
    pub sk_protocol: u32,
    pub sk_err: u32,
    pub sk_err_soft: u32,
    pub sk_cgroup: u32,
    pub inet_sport: u32,
    pub cgroup_kn: u32,
    pub cgroup_root: u32,
    pub cgroup_root_hierarchy: u32,
    pub kernfs_id: u32,
    pub net_inum: u32,
    pub skb_sk: u32,
    pub skb_dev: u32,
    pub skb_cb: u32,
    pub skb_nfct: u32,
    pub skb_head: u32,
    pub skb_network_header: u32,
    pub dev_name: u32,
    pub dev_ifindex: u32,
    pub dev_net: u32,
    pub task_tgid: u32,
    pub task_pid: u32,
    pub task_comm: u32,
    pub task_exit_code: u32,
    pub task_group_leader: u32,
    pub task_thread_pid: u32,
    pub pid_level: u32,
    pub pid_numbers: u32,
    pub pid_namespace_inum: u32,
    pub task_cgroups: u32,
    pub css_set_dfl_cgrp: u32,
    /// `nf_conn.tuplehash[0].tuple.dst.u3` and `.dst.u.all`: what a packet was sent to before NAT.
    pub nf_conn_orig_dst: u32,
    pub nf_conn_orig_dport: u32,
    pub tcp_bytes_received: u32,
    pub tcp_bytes_acked: u32,
    pub tcp_snd_una: u32,
    pub task_nsproxy: u32,
    /// `nsproxy.net_ns`.
    pub nsproxy_net: u32,
    pub sk_ack_backlog: u32,
    pub sk_max_ack_backlog: u32,
    /// `inet_connection_sock.icsk_accept_queue.qlen`.
    pub icsk_syn_queue: u32,
    pub icsk_retransmits: u32,
    pub icsk_lrcvtime: u32,
    pub tcp_lsndtime: u32,
    pub tcp_rcv_nxt: u32,
    pub file_inode: u32,
    pub file_private_data: u32,
    pub inode_mode: u32,
    pub socket_sk: u32,
}

/// Facts and choices that aren't offsets.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Config {
    pub abi_version: u32,
    /// Statuses from here on are failures (500 by default).
    pub min_status: u32,
    /// 1: every exchange is an event.
    pub all_requests: u32,
    /// Arguments of the running kernel's `kfree_skb`: 3 and more bring the reason, 4 and more the receiving socket.
    pub kfree_skb_args: u32,
    /// Arguments of `tcp_send_reset`: 3 bring the reason.
    pub send_reset_args: u32,
    /// 1: `mark_victim` gives a task, 0: a pid.
    pub mark_victim_task: u32,
    /// Bits of the number of a CPU that ran at the start: each of those has lanes in the flight recorder and the counters.
    pub cpu_bits: u32,
    /// 1: `cgroup_skb` programs may call `bpf_get_current_pid_tgid`, which costs half of reading the task.
    /// Since about 6.12.
    pub packet_pid_tgid: u32,
    /// 1: they may call `bpf_ktime_get_coarse_ns`, a clock that goes by ticks and costs a fifth. Since 5.11.
    pub packet_coarse_clock: u32,
    /// Inode of the PID namespace by whose numbers processes are told; 0 is the initial one.
    pub pid_namespace: u32,
}

/// What to do with a drop reason: values of the `DROP_ACTION` array, indexed by the reason's number.
pub mod drop_action {
    pub const IGNORE: u8 = 0;
    pub const REPORT: u8 = 1;
    /// Report with the kernel stack: it names the netfilter hook.
    pub const REPORT_STACK: u8 = 2;
}

/// Entries of the `DROP_ACTION` array; reasons beyond it belong to a subsystem (reason >> 16) and are reported.
pub const DROP_ACTIONS: u32 = 256;

const _: () = assert!(size_of::<Offsets>() == 57 * 4 && size_of::<Config>() == 40);
