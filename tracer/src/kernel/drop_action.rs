//! Which dropped packets are worth an event: reason name → action. Pure.
//!
//! The kernel frees packets as "dropped" for many everyday reasons; only those that explain a failure are reported.

use std::collections::HashMap;
use std::hash::BuildHasher;

use tracer_common::config::{DROP_ACTIONS, drop_action};

/// Reported with the reason alone: the reason says it all.
const REPORT: &[&str] = &[
    "BPF_CGROUP_EGRESS",
    "IP_INADDRERRORS",
    "IP_INNOROUTES",
    "IP_OUTNOROUTES",
    "IP_RPFILTER",
    "IPV6_NDISC_FRAG",
    "NEIGH_CREATEFAIL",
    "NEIGH_DEAD",
    "NEIGH_FAILED",
    "NEIGH_HH_FILLFAIL",
    "NEIGH_QUEUEFULL",
    "PKT_TOO_BIG",
    "PKT_TOO_SMALL",
    "PROTO_MEM",
    "QDISC_CONGESTED",
    "QDISC_DROP",
    "QDISC_OVERLIMIT",
    "SOCKET_BACKLOG",
    "SOCKET_FILTER",
    "SOCKET_RCVBUFF",
    "TC_EGRESS",
    "TC_INGRESS",
    "TCP_LISTEN_OVERFLOW",
    "TCP_REQQFULLDROP",
    "XDP",
];

/// Reported with the kernel stack, which says where: a netfilter hook, or a place that gives no reason.
const REPORT_STACK: &[&str] = &["NETFILTER_DROP", "NOT_SPECIFIED"];

/// The `DROP_ACTION` array for a kernel with these reasons.
///
/// `reset_for_closed_port`: a packet to a closed port shows as a reset sent; where it doesn't, its drop is reported.
pub fn actions<S: BuildHasher>(reasons: &HashMap<u32, String, S>, reset_for_closed_port: bool) -> Vec<u8> {
    let mut actions = vec![drop_action::IGNORE; DROP_ACTIONS as usize];
    for (number, name) in reasons {
        if let Some(action) = actions.get_mut(*number as usize) {
            *action = action_of(name, reset_for_closed_port);
        }
    }
    if reasons.is_empty() {
        // A kernel before 5.17 gives no reasons: each drop is unspecified, and only the stack tells.
        actions[0] = drop_action::REPORT_STACK;
    }
    actions
}

fn action_of(name: &str, reset_for_closed_port: bool) -> u8 {
    if REPORT_STACK.contains(&name) {
        drop_action::REPORT_STACK
    } else if REPORT.contains(&name) || (name == "NO_SOCKET" && !reset_for_closed_port) {
        drop_action::REPORT
    } else {
        drop_action::IGNORE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(names: &[(u32, &str)]) -> HashMap<u32, String> {
        names.iter().map(|(number, name)| (*number, (*name).to_owned())).collect()
    }

    #[test]
    fn by_name_not_by_number() {
        let newer = actions(
            &reasons(&[(2, "NOT_SPECIFIED"), (3, "NO_SOCKET"), (12, "NETFILTER_DROP"), (104, "QUEUE_PURGE")]),
            true,
        );
        assert_eq!((newer[2], newer[3], newer[12], newer[104]), (2, 0, 2, 0));
        let older = actions(
            &reasons(&[(0, "NOT_SPECIFIED"), (1, "NO_SOCKET"), (6, "NETFILTER_DROP"), (10, "IP_RPFILTER")]),
            false,
        );
        assert_eq!((older[0], older[1], older[6], older[10]), (2, 1, 2, 1));
    }

    #[test]
    fn without_reasons_everything_is_unspecified() {
        assert_eq!(actions(&reasons(&[]), false)[0], drop_action::REPORT_STACK);
    }

    #[test]
    fn subsystem_reasons_lie_outside() {
        assert!(actions(&reasons(&[(2 << 16, "NOT_SPECIFIED")]), true).iter().all(|action| *action == 0));
    }
}
