//! Policies as a CNI writes them into the node's namespace, and firewall rules anywhere else.
//!
//! Which flows an isolation admits is said by the scenario: this is no evaluator of NetworkPolicies, so that the tracer's
//! evaluation is checked against something that isn't a copy of it.

use std::fmt::Write as _;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::cluster::Plan;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    #[default]
    Ingress,
    Egress,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    #[default]
    Drop,
    /// ICMP port unreachable.
    Reject,
    /// A reset in the peer's name.
    Reset,
}

impl Verdict {
    fn statement(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Reject => "reject",
            Self::Reset => "reject with tcp reset",
        }
    }
}

/// A pod for which one direction is closed except to the listed peers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Isolation {
    pub pod: String,
    #[serde(default)]
    pub direction: Direction,
    /// Workloads that are admitted.
    #[serde(default)]
    pub allow: Vec<String>,
    #[serde(default)]
    pub verdict: Verdict,
}

/// One rule in a pod's namespace, or without a pod in the node's forward chain.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirewallRule {
    #[serde(default)]
    pub pod: Option<String>,
    /// The second node's chain in place of the first one's.
    #[serde(default)]
    pub second_node: bool,
    pub chain: Chain,
    /// The workload whose address is the destination; any without.
    #[serde(default)]
    pub to: Option<String>,
    pub port: u16,
    #[serde(default)]
    pub udp: bool,
    /// Only packets longer than this, as where a path's MTU is smaller than its ends believe.
    #[serde(default)]
    pub longer_than: Option<u16>,
    /// Only what the port's owner answers.
    #[serde(default)]
    pub replies: bool,
    #[serde(default)]
    pub verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Chain {
    Input,
    Output,
    Forward,
}

pub fn isolation_rules(plan: &Plan, isolation: &Isolation) -> Result<String> {
    let Isolation { pod, direction, allow, verdict } = isolation;
    let pod = plan.pod(pod)?;
    let (own, peer) = match direction {
        Direction::Ingress => ("daddr", "saddr"),
        Direction::Egress => ("saddr", "daddr"),
    };
    let mut rules = String::from(
        "add table inet cni\nadd chain inet cni forward { type filter hook forward priority 0; }\n\
         add rule inet cni forward ct state established,related accept\n",
    );
    let (v4, v6) = (pod.addresses.v4, pod.addresses.v6);
    for workload in allow {
        for admitted in plan.pods.iter().filter(|pod| pod.is(workload)).map(|pod| pod.addresses) {
            writeln!(rules, "add rule inet cni forward ip {own} {v4} ip {peer} {} accept", admitted.v4)?;
            writeln!(rules, "add rule inet cni forward ip6 {own} {v6} ip6 {peer} {} accept", admitted.v6)?;
        }
    }
    let statement = verdict.statement();
    let only = if *verdict == Verdict::Reset { "meta l4proto tcp " } else { "" };
    writeln!(rules, "add rule inet cni forward ip {own} {v4} {only}{statement}")?;
    writeln!(rules, "add rule inet cni forward ip6 {own} {v6} {only}{statement}")?;
    Ok(rules)
}

pub fn rule(plan: &Plan, rule: &FirewallRule) -> Result<String> {
    let FirewallRule { pod: _, second_node: _, chain, to, port, udp, longer_than, replies, verdict } = rule;
    let hook = match chain {
        Chain::Input => "input",
        Chain::Output => "output",
        Chain::Forward => "forward",
    };
    let protocol = if *udp { "udp" } else { "tcp" };
    let matches = match to {
        None => vec![String::new()],
        Some(workload) => {
            let addresses = plan.pod(workload)?.addresses;
            vec![format!("ip daddr {} ", addresses.v4), format!("ip6 daddr {} ", addresses.v6)]
        }
    };
    let end = if *replies { "sport" } else { "dport" };
    let long = longer_than.map(|length| format!("meta length > {length} ")).unwrap_or_default();
    let mut rules =
        format!("add table inet firewall\nadd chain inet firewall {hook} {{ type filter hook {hook} priority 0; }}\n");
    for matching in matches {
        writeln!(
            rules,
            "add rule inet firewall {hook} {matching}{protocol} {end} {port} {long}{}",
            verdict.statement()
        )?;
    }
    Ok(rules)
}
