//! Which hooks are attached, and what a missing one costs. Pure: a table and one function over it.

/// What kind of program a hook is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    CgroupSkbIngress,
    CgroupSkbEgress,
    CgroupSockAddr,
    RawTracepoint,
    /// Runs once, after everything else is attached.
    Iterator,
}

impl Kind {
    /// As people call it.
    pub fn label(self) -> &'static str {
        match self {
            Self::CgroupSkbIngress | Self::CgroupSkbEgress => "cgroup_skb",
            Self::CgroupSockAddr => "cgroup/connect",
            Self::RawTracepoint => "raw_tp",
            Self::Iterator => "iter",
        }
    }

    /// Attached to a cgroup (a subtree, if asked for) rather than to the node.
    pub fn by_cgroup(self) -> bool {
        !matches!(self, Self::RawTracepoint | Self::Iterator)
    }
}

/// One row of the table.
#[derive(Debug)]
pub struct Hook {
    /// Name of the program, and of the tracepoint where it is one.
    pub name: &'static str,
    pub kind: Kind,
    /// Kernels that have it.
    pub since: &'static str,
    /// What it tells.
    pub gives: &'static str,
    /// Nothing useful works without it.
    pub essential: bool,
    /// Causes that can't be found without it.
    pub causes: &'static [&'static str],
}

/// Every hook. Order is attach order: what opens records comes before what reads them; what exists is
/// taken over last, so that nothing falls between.
pub const HOOKS: &[Hook] = &[
    Hook {
        name: "inet_sock_set_state",
        kind: Kind::RawTracepoint,
        since: "5.10",
        gives: "connects, their failures and their ends",
        essential: true,
        causes: &["no-listener", "connect-timeout", "unreachable", "ephemeral-ports-exhausted"],
    },
    Hook {
        name: "egress",
        kind: Kind::CgroupSkbEgress,
        since: "5.10",
        gives: "HTTP and DNS messages sent, ICMPv6 errors sent",
        essential: true,
        causes: &["app-error", "upstream-timeout", "dns-timeout"],
    },
    Hook {
        name: "ingress",
        kind: Kind::CgroupSkbIngress,
        since: "5.10",
        gives: "HTTP and DNS messages received, SYNs that no SYN-ACK follows",
        essential: true,
        causes: &["app-error", "upstream-timeout", "dns-timeout", "accept-queue-overflow"],
    },
    Hook {
        name: "connect4",
        kind: Kind::CgroupSockAddr,
        since: "5.10",
        gives: "IPv4 connects that die before a packet is sent",
        essential: false,
        causes: &["unreachable", "service-no-endpoints"],
    },
    Hook {
        name: "connect6",
        kind: Kind::CgroupSockAddr,
        since: "5.10",
        gives: "IPv6 connects that die before a packet is sent",
        essential: false,
        causes: &["unreachable", "service-no-endpoints"],
    },
    Hook {
        name: "kfree_skb",
        kind: Kind::RawTracepoint,
        since: "5.10; reasons 5.17, receiving socket 6.12",
        gives: "dropped packets, where and why",
        essential: false,
        causes: &["network-policy-drop", "firewall-drop", "conntrack-full", "conntrack-race", "service-no-endpoints"],
    },
    Hook {
        name: "icmp_send",
        kind: Kind::RawTracepoint,
        since: "6.8, and some 6.1",
        gives: "IPv4 ICMP errors that this node sends about connects and DNS queries",
        essential: false,
        causes: &["firewall-reject", "service-no-endpoints", "unreachable"],
    },
    Hook {
        name: "tcp_receive_reset",
        kind: Kind::RawTracepoint,
        since: "5.10",
        gives: "resets received",
        essential: false,
        causes: &["connection-reset", "keepalive-race", "no-listener"],
    },
    Hook {
        name: "tcp_send_reset",
        kind: Kind::RawTracepoint,
        since: "5.10; reasons and closed ports 6.10",
        gives: "resets sent, and by whom",
        essential: false,
        causes: &["connection-reset", "no-listener", "client-abandoned"],
    },
    Hook {
        name: "tcp_retransmit_skb",
        kind: Kind::RawTracepoint,
        since: "5.10; unsent ones 6.18",
        gives: "SYNs without an answer, early",
        essential: false,
        causes: &["connect-timeout"],
    },
    Hook {
        name: "tcp_retransmit_synack",
        kind: Kind::RawTracepoint,
        since: "5.10",
        gives: "reply paths that drop",
        essential: false,
        causes: &["connect-timeout"],
    },
    Hook {
        name: "inet_sk_error_report",
        kind: Kind::RawTracepoint,
        since: "5.14",
        gives: "errors of connects that no reset ended",
        essential: false,
        causes: &["unreachable"],
    },
    Hook {
        name: "tcp_rcv_space_adjust",
        kind: Kind::RawTracepoint,
        since: "5.10",
        gives: "which thread read a request",
        essential: false,
        causes: &["app-crash"],
    },
    Hook {
        name: "mark_victim",
        kind: Kind::RawTracepoint,
        since: "5.10",
        gives: "processes that the kernel kills for memory",
        essential: false,
        causes: &["oom-killed"],
    },
    Hook {
        name: "sched_process_exit",
        kind: Kind::RawTracepoint,
        since: "5.10",
        gives: "processes that end, with signal or exit code",
        essential: false,
        causes: &["app-crash", "crash-loop", "oom-killed"],
    },
    Hook {
        name: "cgroup_mkdir",
        kind: Kind::RawTracepoint,
        since: "5.10",
        gives: "containers that come",
        essential: false,
        causes: &[],
    },
    Hook {
        name: "cgroup_rmdir",
        kind: Kind::RawTracepoint,
        since: "5.10",
        gives: "containers that go",
        essential: false,
        causes: &[],
    },
    Hook {
        name: "task_file",
        kind: Kind::Iterator,
        since: "5.10",
        gives: "sockets that existed before the tracer",
        essential: false,
        causes: &["connection-reset", "connect-timeout"],
    },
];

/// What an attached hook can't tell, where its tracepoint has fewer arguments than in the newest kernels, and which causes
/// suffer.
pub fn lacks(hook: &str, arguments: u32) -> Option<&'static str> {
    match (hook, arguments) {
        ("kfree_skb", 1..3) => Some(
            "this kernel gives no reason of a drop, nor the socket it was for: only the place in the kernel's code tells \
             what dropped it (causes found less often: firewall-drop by reverse paths and by filters of sockets)",
        ),
        ("kfree_skb", 3) => Some(
            "this kernel doesn't say which socket a dropped packet was for (causes found less often: firewall-drop by \
             filters of sockets)",
        ),
        ("tcp_send_reset", 1..3) => Some(
            "this kernel doesn't say why it sent a reset, nor tell of a closed port's resets: the drop of what they answer \
             tells of those",
        ),
        _ => None,
    }
}

/// A hook that isn't attached, and why.
#[derive(Debug, Clone)]
pub struct Skipped {
    pub hook: &'static Hook,
    pub reason: String,
}

/// What is to be attached.
#[derive(Debug, Default)]
pub struct Plan {
    pub attach: Vec<&'static Hook>,
    pub skipped: Vec<Skipped>,
}

impl Plan {
    /// Leaves out all hooks but these, unless there are none.
    pub fn keep_only(&mut self, wanted: &[String]) {
        if wanted.is_empty() {
            return;
        }
        let (keep, leave) = std::mem::take(&mut self.attach)
            .into_iter()
            .partition(|hook: &&Hook| wanted.iter().any(|name| name == hook.name));
        self.attach = keep;
        self.skipped.extend(leave.into_iter().map(|hook| Skipped { hook, reason: "not asked for".to_owned() }));
    }

    /// Essential hooks that this kernel can't have.
    pub fn missing_essential(&self) -> impl Iterator<Item = &Skipped> {
        self.skipped.iter().filter(|skipped| skipped.hook.essential)
    }
}

/// Decides every row of [`HOOKS`].
pub fn plan(has_tracepoint: impl Fn(&str) -> bool, cgroup2: bool) -> Plan {
    let mut plan = Plan::default();
    for hook in HOOKS {
        let reason = match hook.kind {
            Kind::RawTracepoint if !has_tracepoint(hook.name) => {
                Some(format!("this kernel has no tracepoint {} (kernels that have it: {})", hook.name, hook.since))
            }
            kind if kind.by_cgroup() && !cgroup2 => Some("no cgroup v2 file system is mounted".to_owned()),
            _ => None,
        };
        match reason {
            Some(reason) => plan.skipped.push(Skipped { hook, reason }),
            None => plan.attach.push(hook),
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_where_the_kernel_has_everything() {
        let plan = plan(|_| true, true);
        assert_eq!((plan.attach.len(), plan.skipped.len()), (HOOKS.len(), 0));
    }

    #[test]
    fn an_old_kernel_loses_optional_hooks_only() {
        let plan = plan(|name| name != "icmp_send" && name != "inet_sk_error_report", true);
        let skipped: Vec<_> = plan.skipped.iter().map(|skipped| skipped.hook.name).collect();
        assert_eq!(skipped, ["icmp_send", "inet_sk_error_report"]);
        assert_eq!(plan.missing_essential().count(), 0);
        assert!(plan.skipped[0].reason.contains("icmp_send"));
    }

    #[test]
    fn only_what_is_asked_for() {
        let mut plan = plan(|_| true, true);
        plan.keep_only(&[]);
        assert_eq!(plan.attach.len(), HOOKS.len(), "nothing is asked for in particular");
        plan.keep_only(&["egress".to_owned(), "ingress".to_owned()]);
        let attached: Vec<_> = plan.attach.iter().map(|hook| hook.name).collect();
        assert_eq!((attached, plan.skipped.len()), (vec!["egress", "ingress"], HOOKS.len() - 2));
    }

    #[test]
    fn fewer_arguments_tell_less() {
        assert_eq!((lacks("kfree_skb", 4), lacks("tcp_send_reset", 3), lacks("icmp_send", 3)), (None, None, None));
        assert!(
            lacks("kfree_skb", 2).unwrap().contains("no reason") && lacks("kfree_skb", 3).unwrap().contains("socket")
        );
        assert!(lacks("tcp_send_reset", 2).unwrap().contains("closed port"));
        assert_eq!(lacks("tcp_send_reset", 0), None, "absent, which is told as that");
    }

    #[test]
    fn without_cgroup2_the_packet_hooks_are_missing() {
        let plan = plan(|_| true, false);
        let missing: Vec<_> = plan.missing_essential().map(|skipped| skipped.hook.name).collect();
        assert_eq!(missing, ["egress", "ingress"]);
    }
}
