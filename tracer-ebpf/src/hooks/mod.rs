//! One file per hook family, named as its tracepoint or program type.

mod cgroup_dirs;
mod cgroup_skb;
mod dns;
mod inet_sock_set_state;
mod kfree_skb;
mod process;
mod sock_addr;
mod syn;
mod task_file;
mod tcp_rcv_space_adjust;
mod tcp_signals;
