//! What the kernel stack of a dropped packet says: the netfilter hook and the mechanism. Pure.
//!
//! The caller of netfilter names the hook: the frame above `nf_hook_slow` (`nf_hook_slow_list` for packets that arrived
//! as a GRO list). Below it, `nft_do_chain` means nftables. The innermost frame is the tracer's own program, whose
//! address symbolises to nonsense; unknown frames are skipped.

/// Place in a packet's way through netfilter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NetfilterHook {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
    /// A netdev-family chain on a device.
    Ingress,
    /// A netdev-family chain on a device.
    Egress,
}

impl NetfilterHook {
    /// As iptables and nftables write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prerouting => "PREROUTING",
            Self::Input => "INPUT",
            Self::Forward => "FORWARD",
            Self::Output => "OUTPUT",
            Self::Postrouting => "POSTROUTING",
            Self::Ingress => "INGRESS",
            Self::Egress => "EGRESS",
        }
    }
}

/// What dropped the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mechanism {
    Nftables,
    /// iptables-legacy; or nftables on kernels up to 6.1, which free in the same frame.
    Netfilter,
    /// A verdict of a program behind NFQUEUE.
    Nfqueue,
    TcIngress,
    TcEgress,
    /// A queueing discipline.
    Qdisc,
    Xdp,
    /// A BPF program of a cgroup.
    CgroupBpf,
    /// No socket wants it, or the socket's filter refused it.
    Socket,
    /// No route, reverse-path filter, bad address.
    Routing,
    /// No neighbour answers.
    Neighbour,
    Ipvs,
    Conntrack,
    OpenVswitch,
}

/// What a stack says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Place {
    pub hook: Option<NetfilterHook>,
    pub mechanism: Option<Mechanism>,
}

/// Reads a stack of symbols (already stripped of compiler suffixes), innermost first; `None` for an unknown address.
pub fn decode<'a>(stack: impl IntoIterator<Item = Option<&'a str>>) -> Place {
    let frames: Vec<&str> = stack.into_iter().flatten().collect();
    let slow = frames.iter().position(|frame| matches!(*frame, "nf_hook_slow" | "nf_hook_slow_list"));
    // A bridge passes packets on from within its own hooks (br_netfilter): what happens to them there, netfilter stands
    // around but didn't do.
    let outside = frames.iter().position(|frame| mechanism(frame).is_some() || hook(frame).is_some());
    let slow = slow.filter(|slow| outside.is_none_or(|outside| outside > *slow));
    let Some(slow) = slow else {
        return Place { hook: None, mechanism: outside_netfilter(&frames) };
    };
    // The caller stands next to it; a hook named further out is another hook that the packet passed before.
    let hook = frames[slow + 1..].iter().take(3).find_map(|frame| hook(frame));
    let below = &frames[..slow];
    let mechanism = below.iter().find_map(|frame| below_netfilter(frame)).unwrap_or(Mechanism::Netfilter);
    Place { hook, mechanism: Some(mechanism) }
}

/// A packet passes through some places on its way to others (a bridge, a device): those drop only what they free
/// themselves.
fn outside_netfilter(frames: &[&str]) -> Option<Mechanism> {
    let frees = |frame: &&str| frame.starts_with("kfree_skb") || *frame == "sk_skb_reason_drop";
    let freed = frames.iter().position(frees).unwrap_or(0);
    let nearest = freed + frames[freed..].iter().take_while(|frame| frees(frame)).count();
    // A queue frees what it has no room for as a list (`net/core/dev.c` `__dev_xmit_skb`).
    if frames[..nearest].contains(&"kfree_skb_list") {
        return Some(Mechanism::Qdisc);
    }
    let mut places = frames.iter().enumerate().filter(|(index, frame)| *index == nearest || !passes_on(frame));
    places.find_map(|(_, frame)| mechanism(frame))
}

fn passes_on(frame: &str) -> bool {
    matches!(
        frame,
        "__netif_receive_skb_core" | "__dev_queue_xmit" | "__dev_xmit_skb" | "ip_finish_output" | "ip6_finish_output"
    )
}

/// The caller of netfilter.
fn hook(frame: &str) -> Option<NetfilterHook> {
    Some(match frame {
        "ip_rcv" | "ipv6_rcv" | "ip_sublist_rcv" | "ip_list_rcv" | "ip6_sublist_rcv" | "ipv6_list_rcv"
        | "br_handle_frame" => NetfilterHook::Prerouting,
        "ip_local_deliver" | "ip6_input" | "ip6_mc_input" | "br_pass_frame_up" => NetfilterHook::Input,
        "ip_forward" | "ip6_forward" | "br_nf_forward_ip" | "__br_forward" => NetfilterHook::Forward,
        "__ip_local_out" | "ip_local_out" | "__ip6_local_out" | "ip6_local_out" | "ip6_xmit" | "raw_sendmsg"
        | "rawv6_sendmsg" => NetfilterHook::Output,
        "ip_output" | "ip_mc_output" | "ip6_output" | "br_forward_finish" => NetfilterHook::Postrouting,
        "__netif_receive_skb_core" | "nf_ingress" => NetfilterHook::Ingress,
        "__dev_queue_xmit" | "nf_hook_egress" => NetfilterHook::Egress,
        _ => return None,
    })
}

/// What freed the packet inside netfilter.
fn below_netfilter(frame: &str) -> Option<Mechanism> {
    if frame.starts_with("nft_") {
        return Some(Mechanism::Nftables);
    }
    if frame.starts_with("ip_vs_") {
        return Some(Mechanism::Ipvs);
    }
    if frame.starts_with("nf_conntrack_") || frame.starts_with("__nf_conntrack_") {
        return Some(Mechanism::Conntrack);
    }
    None
}

/// What freed a packet outside netfilter's hooks.
fn mechanism(frame: &str) -> Option<Mechanism> {
    Some(match frame {
        "nf_reinject" | "nfqnl_reinject" => Mechanism::Nfqueue,
        "__netif_receive_skb_core" | "sch_handle_ingress" | "tcf_qevent_handle" => Mechanism::TcIngress,
        "sch_handle_egress" | "__dev_queue_xmit" | "__dev_xmit_skb" | "netkit_xmit" => Mechanism::TcEgress,
        "bpf_xdp_link_xmit" | "do_xdp_generic" | "netif_receive_generic_xdp" | "bpf_prog_run_generic_xdp" => {
            Mechanism::Xdp
        }
        "__cgroup_bpf_run_filter_skb" => Mechanism::CgroupBpf,
        "ip_finish_output" | "ip6_finish_output" => Mechanism::CgroupBpf,
        "tcp_v4_rcv"
        | "tcp_v6_rcv"
        | "__udp4_lib_rcv"
        | "__udp6_lib_rcv"
        | "sk_filter_trim_cap"
        | "udp_queue_rcv_one_skb"
        | "udpv6_queue_rcv_one_skb" => Mechanism::Socket,
        "ip_error"
        | "ip_rcv_finish_core"
        | "ip_route_input_slow"
        | "ip6_pkt_drop"
        | "ip6_pkt_discard"
        | "ip_pkt_drop" => Mechanism::Routing,
        "neigh_invalidate"
        | "__neigh_event_send"
        | "neigh_timer_handler"
        | "arp_error_report"
        | "ndisc_error_report" => Mechanism::Neighbour,
        _ if frame.starts_with("ovs_") => Mechanism::OpenVswitch,
        _ if frame.ends_with("_enqueue") || frame.ends_with("_qdisc_drop") => Mechanism::Qdisc,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::legacy_prerouting(
        "kfree_skb_reason nf_hook_slow ip_rcv __netif_receive_skb_one_core",
        Some(NetfilterHook::Prerouting),
        Mechanism::Netfilter
    )]
    #[case::nft_input(
        "sk_skb_reason_drop nft_do_chain nft_do_chain_ipv4 nf_hook_slow ip_local_deliver ip_rcv",
        Some(NetfilterHook::Input),
        Mechanism::Nftables
    )]
    #[case::nft_forward(
        "kfree_skb nft_do_chain nft_do_chain_inet nf_hook_slow ip_forward ip_rcv",
        Some(NetfilterHook::Forward),
        Mechanism::Nftables
    )]
    #[case::old_output(
        "kfree_skb nf_hook_slow __ip_local_out ip_local_out __ip_queue_xmit tcp_v4_connect",
        Some(NetfilterHook::Output),
        Mechanism::Netfilter
    )]
    #[case::postrouting(
        "kfree_skb nf_hook_slow ip_output ip_forward ip_rcv",
        Some(NetfilterHook::Postrouting),
        Mechanism::Netfilter
    )]
    #[case::gro_list(
        "kfree_skb_reason nf_hook_slow nf_hook_slow_list ip_sublist_rcv ip_list_rcv",
        Some(NetfilterHook::Prerouting),
        Mechanism::Netfilter
    )]
    #[case::ipv6_forward(
        "sk_skb_reason_drop nft_do_chain nft_do_chain_inet nf_hook_slow ip6_forward ipv6_rcv",
        Some(NetfilterHook::Forward),
        Mechanism::Nftables
    )]
    #[case::nft_netdev(
        "sk_skb_reason_drop nft_do_chain nft_do_chain_netdev nf_hook_slow __netif_receive_skb_core",
        Some(NetfilterHook::Ingress),
        Mechanism::Nftables
    )]
    #[case::ipvs(
        "kfree_skb ip_vs_leave ip_vs_in nf_hook_slow ip_local_deliver",
        Some(NetfilterHook::Input),
        Mechanism::Ipvs
    )]
    #[case::tc_ingress(
        "sk_skb_reason_drop __netif_receive_skb_core __netif_receive_skb_one_core",
        None,
        Mechanism::TcIngress
    )]
    #[case::tc_egress("sk_skb_reason_drop __dev_queue_xmit ip_finish_output2", None, Mechanism::TcEgress)]
    #[case::nfqueue("kfree_skb nfqnl_reinject nfqnl_recv_verdict", None, Mechanism::Nfqueue)]
    #[case::closed_port(
        "kfree_skb_reason tcp_v4_rcv ip_protocol_deliver_rcu ip_local_deliver",
        None,
        Mechanism::Socket
    )]
    #[case::rp_filter("kfree_skb_reason ip_rcv_finish_core ip_rcv", None, Mechanism::Routing)]
    #[case::no_route_behind_a_bridge(
        "kfree_skb_reason ip_error ip_rcv netif_receive_skb br_pass_frame_up br_nf_pre_routing_finish br_nf_pre_routing \
         nf_hook_slow br_handle_frame",
        None,
        Mechanism::Routing
    )]
    #[case::nft_behind_a_bridge(
        "sk_skb_reason_drop nft_do_chain nft_do_chain_inet nf_hook_slow ip_forward ip_rcv br_pass_frame_up \
         br_nf_pre_routing nf_hook_slow br_handle_frame",
        Some(NetfilterHook::Forward),
        Mechanism::Nftables
    )]
    #[case::old_queue("kfree_skb kfree_skb_list __dev_queue_xmit ip_finish_output2", None, Mechanism::Qdisc)]
    #[case::netkit("kfree_skb_reason netkit_xmit dev_hard_start_xmit __dev_queue_xmit", None, Mechanism::TcEgress)]
    #[case::cgroup("kfree_skb_reason ip_finish_output ip_output", None, Mechanism::CgroupBpf)]
    fn frames(#[case] stack: &str, #[case] hook: Option<NetfilterHook>, #[case] mechanism: Mechanism) {
        // The first address is the program's own, and unknown.
        let frames = std::iter::once(None).chain(stack.split(' ').map(Some));
        assert_eq!(decode(frames), Place { hook, mechanism: Some(mechanism) });
    }

    #[test]
    fn nothing_known_is_nothing_said() {
        assert_eq!(decode([None, Some("unix_stream_connect")]), Place::default());
        assert_eq!(decode([]), Place::default());
        for stack in [
            "kfree_skb_reason veth_xmit dev_hard_start_xmit __dev_queue_xmit ip_finish_output2 ip_finish_output",
            "sk_skb_reason_drop br_handle_frame __netif_receive_skb_core",
        ] {
            assert_eq!(decode(stack.split(' ').map(Some)), Place::default(), "{stack}");
        }
    }
}
