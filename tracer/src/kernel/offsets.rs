//! [`Offsets`] of the running kernel: one table row per field, with what is lost where the kernel lacks it.

use tracer_common::config::{ABSENT, Offsets};

use super::btf::KernelBtf;

/// One field of [`Offsets`].
struct Field {
    name: &'static str,
    structure: &'static str,
    /// Paths in order of preference: a renamed field has several.
    paths: &'static [&'static str],
    set: fn(&mut Offsets, u32),
    /// What degrades without it; `None` where nothing works without it.
    without: Option<&'static str>,
}

/// An offset that the kernel lacks, and what that costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    pub field: &'static str,
    pub costs: &'static str,
}

/// The kernel lacks fields that nothing works without.
#[derive(Debug, thiserror::Error)]
#[error(
    "this kernel's type information lacks {fields}, without which no connection can be read; \
     use a kernel from 5.10 on, built with CONFIG_DEBUG_INFO_BTF=y and CONFIG_INET=y"
)]
pub struct OffsetsError {
    pub fields: String,
}

macro_rules! fields {
    ($($name:ident: $structure:literal $($path:literal)|+ $(, without $without:literal)?;)*) => {
        &[$(Field {
            name: stringify!($name),
            structure: $structure,
            paths: &[$($path),+],
            set: |offsets, value| offsets.$name = value,
            without: fields!(@without $($without)?),
        }),*]
    };
    (@without) => { None };
    (@without $without:literal) => { Some($without) };
}

const FIELDS: &[Field] = fields! {
    skc_family: "sock" "__sk_common.skc_family";
    skc_state: "sock" "__sk_common.skc_state";
    skc_num: "sock" "__sk_common.skc_num";
    skc_dport: "sock" "__sk_common.skc_dport";
    skc_daddr: "sock" "__sk_common.skc_daddr";
    skc_rcv_saddr: "sock" "__sk_common.skc_rcv_saddr";
    skc_v6_daddr: "sock" "__sk_common.skc_v6_daddr", without "IPv6 connections are not followed";
    skc_v6_rcv_saddr: "sock" "__sk_common.skc_v6_rcv_saddr", without "IPv6 connections are not followed";
    skc_net: "sock" "__sk_common.skc_net.net", without "connections are not told apart by network namespace";
    sk_protocol: "sock" "sk_protocol";
    sk_err: "sock" "sk_err", without "failed connects carry no error number";
    sk_err_soft: "sock" "sk_err_soft", without "connects that an ICMP error ended carry no error number";
    sk_cgroup: "sock" "sk_cgrp_data.cgroup", without "sockets are attributed to containers by network namespace only";
    inet_sport: "inet_sock" "inet_sport", without "failed connects carry no source port";
    cgroup_kn: "cgroup" "kn", without "sockets are attributed to containers by network namespace only";
    cgroup_root: "cgroup" "root", without "on nodes with cgroup v1, too, requests may be attributed to other containers";
    cgroup_root_hierarchy: "cgroup_root" "hierarchy_id", without "on nodes with cgroup v1, too, requests may be attributed to other containers";
    kernfs_id: "kernfs_node" "id", without "sockets are attributed to containers by network namespace only";
    net_inum: "net" "ns.inum", without "connections and drops are not told apart by network namespace";
    skb_sk: "sk_buff" "sk", without "dropped packets are not joined to their socket";
    skb_dev: "sk_buff" "dev", without "dropped packets carry no device";
    skb_cb: "sk_buff" "cb", without "Cilium's own drop reasons are not shown";
    skb_nfct: "sk_buff" "_nfct", without "the Service address of a dropped packet is not known";
    skb_head: "sk_buff" "head", without "dropped packets carry no addresses";
    skb_network_header: "sk_buff" "network_header", without "dropped packets carry no addresses";
    dev_name: "net_device" "name", without "dropped packets carry no device name";
    dev_ifindex: "net_device" "ifindex", without "dropped packets carry no device number";
    dev_net: "net_device" "nd_net.net", without "dropped packets are not placed in a network namespace";
    task_tgid: "task_struct" "tgid", without "requests are not linked by thread";
    task_pid: "task_struct" "pid", without "requests are not linked by thread";
    task_comm: "task_struct" "comm", without "process names are read from /proc only";
    task_exit_code: "task_struct" "exit_code", without "crashes carry no signal and no exit code";
    task_group_leader: "task_struct" "group_leader", without "processes of a node in a container are not told apart";
    task_thread_pid: "task_struct" "thread_pid", without "processes of a node in a container are not told apart";
    pid_level: "pid" "level", without "processes of a node in a container are not told apart";
    pid_numbers: "pid" "numbers", without "processes of a node in a container are not told apart";
    pid_namespace_inum: "pid_namespace" "ns.inum", without "processes of a node in a container are not told apart";
    task_cgroups: "task_struct" "cgroups", without "processes that die are not attributed to containers";
    css_set_dfl_cgrp: "css_set" "dfl_cgrp", without "processes that die are not attributed to containers";
    nf_conn_orig_dst: "nf_conn" "tuplehash.tuple.dst.u3", without "the Service address of a dropped packet is not known";
    nf_conn_orig_dport: "nf_conn" "tuplehash.tuple.dst.u.all", without "the Service port of a dropped packet is not known";
    tcp_bytes_received: "tcp_sock" "bytes_received", without "resets carry no byte counts";
    tcp_bytes_acked: "tcp_sock" "bytes_acked", without "resets carry no byte counts";
    tcp_snd_una: "tcp_sock" "snd_una", without "a request that crossed the server's close is not told from one that it read";
    task_nsproxy: "task_struct" "nsproxy", without "connects that die early are not placed in a network namespace";
    nsproxy_net: "nsproxy" "net_ns", without "connects that die early are not placed in a network namespace";
    sk_ack_backlog: "sock" "sk_ack_backlog", without "full accept queues are not told";
    sk_max_ack_backlog: "sock" "sk_max_ack_backlog", without "full accept queues are not told";
    icsk_syn_queue: "inet_connection_sock" "icsk_accept_queue.qlen", without "full SYN queues are not told";
    icsk_retransmits: "inet_connection_sock" "icsk_retransmits", without "connects older than the tracer count no SYNs";
    icsk_lrcvtime: "inet_connection_sock" "icsk_ack.lrcvtime", without "resets of older connections are not told";
    tcp_lsndtime: "tcp_sock" "lsndtime", without "resets of older connections are not told";
    tcp_rcv_nxt: "tcp_sock" "rcv_nxt", without "a connection whose first segment is overtaken is dismissed";
    file_inode: "file" "f_inode", without "sockets older than the tracer are only known from their next request on";
    file_private_data: "file" "private_data", without "sockets older than the tracer are only known from their next request on";
    inode_mode: "inode" "i_mode", without "sockets older than the tracer are only known from their next request on";
    socket_sk: "socket" "sk", without "sockets older than the tracer are only known from their next request on";
};

/// Every structure whose members are wanted.
pub(super) fn structs() -> impl Iterator<Item = &'static str> {
    FIELDS.iter().map(|field| field.structure)
}

/// Reads every offset; the second part says what is absent.
pub fn resolve(btf: &KernelBtf) -> Result<(Offsets, Vec<Missing>), OffsetsError> {
    let mut offsets = zerocopy::transmute!([ABSENT; size_of::<Offsets>() / 4]);
    let mut missing = Vec::new();
    let mut essential = Vec::new();
    for field in FIELDS {
        match (field.paths.iter().find_map(|path| btf.offset(field.structure, path)), field.without) {
            (Some(offset), _) => (field.set)(&mut offsets, offset),
            (None, Some(costs)) => missing.push(Missing { field: field.name, costs }),
            (None, None) => essential.push(format!("{}.{}", field.structure, field.paths[0])),
        }
    }
    if essential.is_empty() { Ok((offsets, missing)) } else { Err(OffsetsError { fields: essential.join(", ") }) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::kernel::btf::VMLINUX;

    #[test]
    fn every_offset_has_a_row() {
        let mut offsets: Offsets = zerocopy::transmute!([ABSENT; size_of::<Offsets>() / 4]);
        FIELDS.iter().for_each(|field| (field.set)(&mut offsets, 1));
        assert!(zerocopy::IntoBytes::as_bytes(&offsets).chunks(4).all(|value| value == 1u32.to_ne_bytes()));
    }

    /// `tracer doctor` says what is lost without a field: nothing, if no program reads it.
    #[test]
    fn every_offset_is_read() {
        let mut programs = String::new();
        let mut directories = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../tracer-ebpf/src")];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
                if entry.is_dir() {
                    directories.push(entry);
                } else {
                    programs += &std::fs::read_to_string(entry).unwrap();
                }
            }
        }
        let unread: Vec<_> = FIELDS
            .iter()
            .map(|field| field.name)
            .filter(|name| !programs.contains(&format!("offset!({name})")))
            .collect();
        assert_eq!(unread, [""; 0]);
    }

    #[test]
    fn the_running_kernel_has_them() {
        if !Path::new(VMLINUX).exists() {
            return;
        }
        let btf = KernelBtf::open(Path::new(VMLINUX)).unwrap();
        let (offsets, missing) = resolve(&btf).unwrap();
        // These have never moved (5.10 to 7.2).
        assert_eq!((offsets.skc_daddr, offsets.skc_dport, offsets.skc_family), (0, 12, 16));
        assert_eq!(offsets.nf_conn_orig_dport, 16 + 16 + 36);
        assert_eq!(missing, []);
    }
}
