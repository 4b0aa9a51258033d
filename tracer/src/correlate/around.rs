//! What of the node's answers belongs to a chain.

use std::net::SocketAddr;

use super::{Correlator, chain::Leaf, inquiry::BEFORE_CONNECT_NS, window};
use crate::event::{Exchange, Ktime, LogEntry, Resources, Role, Rule};

/// A reading tells of a failure within this.
pub(super) const NEAR_NS: u64 = 1_000_000_000;
/// A queue that nobody empties stays full.
const NEAR_SYN_NS: u64 = 3_000_000_000;
/// A server logs what it fails of within this of its answer; its clock is the node's.
const SLACK_NS: u64 = 200_000_000;

/// What the node said of the end of a chain.
#[derive(Clone, Debug, Default)]
pub(crate) struct Around {
    pub(crate) resources: Option<Resources>,
    /// By container, only what was logged meanwhile.
    pub(crate) logs: Vec<(String, Vec<LogEntry>)>,
    pub(crate) omitted: u64,
    /// What dropped the first of the packets.
    pub(crate) rule: Option<Rule>,
    /// The process has another request open: what burdens it may not be this one.
    pub(crate) crowded: bool,
    /// When its resources weren't asked for, though they might have told more.
    pub(crate) left_out: Option<Ktime>,
}

impl Correlator {
    /// What the node said of a chain's end.
    pub(crate) fn around(&self, leaf: &Leaf<'_>) -> Around {
        match leaf {
            Leaf::Server(leaf) => {
                let server = &leaf.exchange;
                let uid = self.pod_uid(server.cgroup);
                let until = leaf.until.saturating_add(SLACK_NS);
                let tgid = server.actor.map(|actor| actor.tgid);
                let resources = self.resources_of(server.cgroup, tgid, leaf.until, NEAR_NS);
                let throttled = resources.as_ref().and_then(|r| r.cpu).is_some_and(|cpu| cpu.throttled_us > 0);
                let crowded = throttled && self.crowded(server, leaf.until);
                let container = leaf.who.container.as_deref();
                let unknown = self.inquiries.pace.left_out_of_any;
                let left_out = self.inquiries.pace.left_out.get(&self.identity.container_key(server.cgroup)).copied();
                let left_out = left_out.max(unknown).filter(|at| resources.is_none() && *at >= server.start_ns);
                let around = self.logged(uid.as_deref(), container, server.start_ns, until);
                Around { resources, crowded, left_out, ..around }
            }
            Leaf::Connect(leaf) => {
                let uid = leaf.target.pod.map(|pod| pod.metadata.uid.as_str());
                let from = leaf.connect.start_ns.saturating_sub(BEFORE_CONNECT_NS);
                let rule = leaf.drops.first().and_then(|(_, drop)| self.rule_of(drop));
                let resources =
                    leaf.syn.as_ref().and_then(|(at, syn)| self.resources_of(syn.cgroup, None, *at, NEAR_SYN_NS));
                Around { rule, resources, ..self.logged(uid, None, from, leaf.connect.end_ns.saturating_add(SLACK_NS)) }
            }
            Leaf::Lookup(leaf) => {
                Around { rule: leaf.drops.first().and_then(|(_, drop)| self.rule_of(drop)), ..Around::default() }
            }
            Leaf::Lost(leaf) => {
                Around { rule: leaf.drops.first().and_then(|(_, drop)| self.rule_of(drop)), ..Around::default() }
            }
            Leaf::End(leaf) => {
                let uid = leaf.target.pod.map(|pod| pod.metadata.uid.as_str());
                let from = leaf.at.saturating_sub(BEFORE_CONNECT_NS);
                self.logged(uid, None, from, leaf.at.saturating_add(SLACK_NS))
            }
            Leaf::Remote(_) | Leaf::Abandoned(_) | Leaf::Ambiguous(_) => Around::default(),
        }
    }

    /// The reading nearest to a failure, of the process that read the request or, where none did, of the one that listens.
    fn resources_of(&self, cgroup: u64, tgid: Option<u32>, at: Ktime, within: u64) -> Option<Resources> {
        let container = self.identity.container_key(cgroup);
        let since = at.saturating_sub(within);
        let recent = self.inquiries.resources.iter().rev().take_while(|(read, _)| *read >= since);
        let own = recent.filter(|(_, r)| {
            self.identity.container_key(r.cgroup) == container && tgid.is_none_or(|tgid| tgid == r.tgid)
        });
        let near = own.filter(|(read, _)| read.abs_diff(at) <= within);
        near.min_by_key(|(read, _)| read.abs_diff(at)).map(|(_, resources)| resources.clone())
    }

    fn logged(&self, uid: Option<&str>, container: Option<&str>, from: Ktime, until: Ktime) -> Around {
        let mut around = Around::default();
        let recent = self.inquiries.logs.iter().rev().take_while(|(read, _)| *read >= from);
        for (_, log) in recent.filter(|(_, log)| Some(log.uid.as_str()) == uid) {
            if container.is_some_and(|name| name != log.container) {
                continue;
            }
            around.omitted = around.omitted.max(log.omitted);
            let within = log.entries.iter().filter(|entry| entry.at >= from && entry.at <= until);
            let place = around.logs.iter().position(|(name, _)| *name == log.container).unwrap_or_else(|| {
                around.logs.push((log.container.clone(), Vec::new()));
                around.logs.len() - 1
            });
            let entries = &mut around.logs[place].1;
            for entry in within {
                if !entries.contains(entry) {
                    entries.push(entry.clone());
                }
            }
        }
        around.logs.retain(|(_, entries)| !entries.is_empty());
        around.logs.iter_mut().for_each(|(_, entries)| entries.sort_by_key(|entry| entry.at));
        around.logs.sort_by(|(a, _), (b, _)| a.cmp(b));
        around
    }

    /// Whether the container served other requests at the same time, as far as is known.
    fn crowded(&self, server: &Exchange, until: Ktime) -> bool {
        let container = self.identity.container_key(server.cgroup);
        let open = self.window.open.iter().filter(|x| x.role == Role::Server && !self.window.has_ended(x));
        let open = open.filter(|x| self.identity.container_key(x.cgroup) == container);
        let key = |x: &Exchange| -> (SocketAddr, u32) { x.hop_key() };
        let mut meanwhile = self.window.inbound(container).take(window::RECENT).chain(open);
        meanwhile.any(|x| key(x) != key(server) && x.start_ns <= until && x.end_ns > server.start_ns)
    }
}
