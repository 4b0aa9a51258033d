//! Below the requests: connects, resets, drops, retransmits.

use super::expr::{OWNER, counts, rate, top, totals};
use super::model::{Dashboard, Panel, Unit, Variable, row};

const CHOICE: &[Variable] = &[
    Variable {
        name: "namespace",
        title: "Namespace",
        metric: "",
        matchers: r#"__name__=~"tracer_(connect_failures|tcp_resets|drops|tcp_retransmits)_total",job=~"$job",instance=~"$instance""#,
        label: "namespace",
        multi: true,
    },
    Variable {
        name: "workload",
        title: "Workload",
        metric: "",
        matchers: r#"__name__=~"tracer_(connect_failures|tcp_resets|drops|tcp_retransmits)_total",job=~"$job",instance=~"$instance",namespace=~"$namespace""#,
        label: "workload",
        multi: true,
    },
];

const FROM_TO: &str = "namespace, workload, peer_namespace, peer_name";

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        name: "network",
        title: "Network",
        about: "Refused and unanswered connects, resets, dropped packets and retransmits, as the kernels of the nodes saw them.",
        variables: CHOICE,
        rows: vec![
            row("Connects", connects()),
            row("Resets", resets()),
            row("Drops", drops()),
            row("Retransmits", retransmits()),
        ],
    }
}

fn connects() -> [Panel; 3] {
    let metric = "tracer_connect_failures_total";
    [
        Panel::bars(
            "Failed, by reason",
            "TCP connects that failed, each attempt. Refused: an RST or an ICMP error came; timeout: nothing came.",
        )
        .show(counts("reason", metric, OWNER), "{{reason}}"),
        Panel::bars("Failed, by caller", "Who couldn't connect.")
            .show(top(&counts("namespace, workload", metric, OWNER)), "{{namespace}} {{workload}}"),
        Panel::table("Failed, from whom to whom", "Failed connects of the chosen time.")
            .wide()
            .show(totals(&format!("{FROM_TO}, reason"), metric, OWNER), ""),
    ]
}

fn resets() -> [Panel; 2] {
    let metric = "tracer_tcp_resets_total";
    [
        Panel::bars(
            "By direction and reason",
            "TCP resets; the reason is the kernel's, from Linux 6.10 on and of those that it sent.",
        )
        .show(counts("direction, reason", metric, OWNER), "{{direction}} {{reason}}"),
        Panel::bars("By pair", "Who has resets with whom.").show(
            top(&counts(FROM_TO, metric, OWNER)),
            "{{namespace}} {{workload}} – {{peer_namespace}} {{peer_name}}",
        ),
    ]
}

fn drops() -> [Panel; 3] {
    let metric = "tracer_drops_total";
    [
        Panel::bars("By reason", "Packets that the kernel dropped; at most five a second of a flow are counted.")
            .show(counts("reason", metric, OWNER), "{{reason}}"),
        Panel::bars("By mechanism", "What dropped them: netfilter is where policies and firewalls are.")
            .show(counts("mechanism", metric, OWNER), "{{mechanism}}"),
        Panel::table("Dropped, from whom to whom", "Dropped packets of the chosen time.")
            .wide()
            .show(totals(&format!("{FROM_TO}, reason, mechanism"), metric, OWNER), ""),
    ]
}

fn retransmits() -> [Panel; 2] {
    let metric = "tracer_tcp_retransmits_total";
    [
        Panel::lines("By kind", "Segments sent again: SYNs of connects that get no answer, SYN-ACKs whose answer is missing, data lost on the way (of whole nodes).", Unit::PerSecond)
            .show(rate("packet", metric, r#"job=~"$job",instance=~"$instance""#), "{{packet}}"),
        Panel::lines("SYNs, by workload", "Whose connects get no answer at first.", Unit::PerSecond)
            .show(top(&rate("namespace, workload", metric, &format!(r#"{OWNER},packet=~"syn.*""#))), "{{namespace}} {{workload}}"),
    ]
}
