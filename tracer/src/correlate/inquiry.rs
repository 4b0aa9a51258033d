//! What is asked of the node when something fails, and what of the answers belongs to a chain: resources of the failing
//! server at once, since they may be free again soon; its log a moment later, since it is written late. Bounded: what is
//! left unasked is counted.

use std::{collections::VecDeque, net::SocketAddr};

use rustc_hash::FxHashMap;

use super::{Correlator, Want, chain::Leaf, symptom::Symptom, window};
use crate::{
    event::{Drop, Exchange, Flow, HostFact, Ktime, Log, LogEntry, Resources, Role, Rule, UnansweredSyn},
    k8s::cgroup::parse_cgroup_path,
};

/// A container runtime passes a line on within this, and the verdict comes after it.
const LOG_NS: u64 = 100_000_000;
/// The same is asked again after this.
const AGAIN_NS: u64 = 250_000_000;
/// A ruleset is listed within this, and not at all after that.
const RULE_NS: u64 = 500_000_000;
const RULE_GONE_NS: u64 = 5_000_000_000;
/// Listing a ruleset costs more, and rules stay.
const RULE_AGAIN_NS: u64 = 30_000_000_000;
/// A reading tells of a failure within this.
const NEAR_NS: u64 = 1_000_000_000;
/// A queue that nobody empties stays full.
const NEAR_SYN_NS: u64 = 3_000_000_000;
/// Questions in one second.
const PER_SECOND: u32 = 128;
/// And in ten minutes: answers are kept in capture files, and looking costs.
const PER_PERIOD: u32 = 10_000;
const PERIOD_NS: u64 = 600_000_000_000;
const WAITING: usize = 200;
const ANSWERS: usize = 1000;
/// A server logs what it fails of within this of its answer; its clock is the node's.
const SLACK_NS: u64 = 200_000_000;
/// What was logged before a connect failed may tell why nobody listens.
const BEFORE_CONNECT_NS: u64 = 10_000_000_000;

/// Questions asked, and answers.
#[derive(Debug, Default)]
pub(crate) struct Inquiries {
    waiting: VecDeque<Waiting>,
    asked: FxHashMap<Subject, Ktime>,
    /// The second that is counted, and what was asked in it.
    second: (Ktime, u32),
    /// The same of ten minutes.
    period: (Ktime, u32),
    /// Left unasked.
    pub(crate) skipped: u64,
    /// When that happened last.
    pub(crate) skipped_at: Option<Ktime>,
    resources: VecDeque<(Ktime, Resources)>,
    logs: VecDeque<(Ktime, Log)>,
    rules: VecDeque<(Ktime, Rule)>,
    /// When the question for a rule was asked that has no answer yet: one at a time.
    rule_asked: Option<Ktime>,
}

#[derive(Debug)]
struct Waiting {
    at: Ktime,
    symptom: Symptom,
    /// Resources were asked for.
    resources: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subject {
    /// A container and a process.
    Resources(u64, u32),
    /// A pod.
    Log(String),
    /// Namespace, hook and target of a dropped packet.
    Rule(u32, String, SocketAddr),
}

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
}

impl Inquiries {
    /// Takes an answer.
    pub(super) fn learn(&mut self, at: Ktime, fact: &HostFact) {
        match fact {
            HostFact::Resources(resources) => bounded(&mut self.resources, (at, (**resources).clone())),
            HostFact::Log(log) => bounded(&mut self.logs, (at, log.clone())),
            HostFact::Rule(rule) => {
                self.rule_asked = None;
                bounded(&mut self.rules, (at, rule.clone()));
            }
            HostFact::NoRule(_) => self.rule_asked = None,
            _ => {}
        }
    }

    /// Forgets what is too old to tell of anything.
    pub(super) fn expire(&mut self, limit: Ktime) {
        self.resources.retain(|(at, _)| *at >= limit);
        self.logs.retain(|(at, _)| *at >= limit);
        self.rules.retain(|(at, _)| *at >= limit);
        self.asked.retain(|_, at| *at >= limit);
    }

    fn skip(&mut self, looks: u64, now: Ktime) {
        self.skipped += looks;
        self.skipped_at = Some(now);
    }

    /// Whether to ask, now; counts what isn't asked for want of room.
    fn admits(&mut self, subject: Subject, now: Ktime) -> bool {
        let again = if matches!(subject, Subject::Rule(..)) { RULE_AGAIN_NS } else { AGAIN_NS };
        if self.asked.get(&subject).is_some_and(|at| now.saturating_sub(*at) < again) {
            return false;
        }
        for (counted, length) in [(&mut self.second, 1_000_000_000), (&mut self.period, PERIOD_NS)] {
            if now / length != counted.0 {
                *counted = (now / length, 0);
            }
        }
        if self.second.1 >= PER_SECOND || self.period.1 >= PER_PERIOD {
            self.skip(1, now);
            return false;
        }
        self.second.1 += 1;
        self.period.1 += 1;
        self.asked.insert(subject, now);
        true
    }
}

/// The packet as rules saw it, if a rule may have dropped it.
fn flow(drop: &Drop) -> Option<Flow> {
    drop.by_netfilter().then_some(())?;
    Some(Flow {
        netns: drop.netns,
        hook: drop.hook.clone()?,
        protocol: drop.protocol,
        source: drop.source,
        destination: drop.destination,
    })
}

fn bounded<T>(queue: &mut VecDeque<T>, item: T) {
    if queue.len() >= ANSWERS {
        queue.pop_front();
    }
    queue.push_back(item);
}

impl Correlator {
    /// A failure was seen: asks what it took place in.
    pub(super) fn inquire(&mut self, symptom: &Symptom, at: Ktime) {
        // Nothing of theirs is on the node; and search domains make so many that others would find no room.
        if matches!(symptom, Symptom::Lookup { .. } | Symptom::Attempt(_)) {
            return;
        }
        // Finding the other end of a client's exchange takes longer, and it may not be known before a look.
        let is_server = |x: &Exchange| x.role == Role::Server;
        let known = matches!(symptom, Symptom::Exchange(id) if self.window.exchanges.get(*id).is_some_and(is_server));
        let resources = known && self.ask_resources(symptom);
        if self.inquiries.waiting.len() >= WAITING {
            self.inquiries.skip(u64::from(!resources), at);
            return;
        }
        self.inquiries.waiting.push_back(Waiting { at, symptom: symptom.clone(), resources });
    }

    /// Time has passed: asks what couldn't be asked before. True if it did; the answers are worth waiting for.
    pub(super) fn inquire_again(&mut self) -> bool {
        let mut asked = false;
        for mut waiting in std::mem::take(&mut self.inquiries.waiting) {
            // The other end may only have been found by a look.
            waiting.resources = waiting.resources || self.ask_resources(&waiting.symptom);
            if self.now < waiting.at.saturating_add(LOG_NS) {
                self.inquiries.waiting.push_back(waiting);
            } else {
                asked |= self.ask_log(&waiting.symptom);
            }
        }
        asked
    }

    /// A packet was dropped: asks which rule did it, if it was one and the packet a pod's.
    pub(super) fn inquire_drop(&mut self, drop: &Drop) {
        let Some(flow) = flow(drop) else { return };
        let is_pod = |address: SocketAddr| self.identity.pod_at(&self.snapshot, address.ip()).is_some();
        if !is_pod(flow.source) && !is_pod(flow.destination) || self.asks_rule(RULE_GONE_NS) {
            return;
        }
        if self.inquiries.admits(Subject::Rule(flow.netns, flow.hook.clone(), flow.destination), self.now) {
            self.inquiries.rule_asked = Some(self.now);
            self.wants.push(Want::Rule(flow));
        }
    }

    fn asks_rule(&self, within: u64) -> bool {
        self.inquiries.rule_asked.is_some_and(|at| self.now < at.saturating_add(within))
    }

    /// Failures since then aren't decided yet: they may be of a packet whose rule is being looked for.
    pub(super) fn rule_awaited_since(&self) -> Option<Ktime> {
        self.inquiries.rule_asked.filter(|_| self.asks_rule(RULE_NS))
    }

    /// A listener's queue was full: asks what keeps its process from accepting.
    pub(super) fn inquire_syn(&mut self, syn: &UnansweredSyn) {
        let UnansweredSyn { cgroup, netns, local, start_ns, accept_queue, accept_queue_max, .. } = *syn;
        let subject = Subject::Resources(self.identity.container_key(cgroup), 0);
        if accept_queue > accept_queue_max && self.inquiries.admits(subject, self.now) {
            self.wants.push(Want::Resources { cgroup, tgid: 0, netns, port: local.port(), since: start_ns });
        }
    }

    /// The rule that dropped a packet like this one.
    fn rule_of(&self, drop: &Drop) -> Option<Rule> {
        let wanted = flow(drop)?;
        // A retry comes from another port.
        let alike =
            |f: &Flow| Flow { source: SocketAddr::new(f.source.ip(), wanted.source.port()), ..f.clone() } == wanted;
        self.inquiries.rules.iter().rev().find(|(_, rule)| alike(&rule.flow)).map(|(_, rule)| rule.clone())
    }

    /// True if nothing is left to ask.
    fn ask_resources(&mut self, symptom: &Symptom) -> bool {
        let Some(server) = self.failing_server(symptom) else { return !matches!(symptom, Symptom::Exchange(_)) };
        let tgid = server.actor.map_or(0, |actor| actor.tgid);
        let want = Want::Resources {
            cgroup: server.cgroup,
            tgid,
            netns: server.netns,
            port: server.local.port(),
            since: server.start_ns,
        };
        let subject = Subject::Resources(self.identity.container_key(server.cgroup), tgid);
        if self.inquiries.admits(subject, self.now) {
            self.wants.push(want);
        }
        true
    }

    fn ask_log(&mut self, symptom: &Symptom) -> bool {
        let Some((uid, container, from)) = self.log_of(symptom) else { return false };
        if !self.inquiries.admits(Subject::Log(uid.clone()), self.now) {
            return false;
        }
        self.wants.push(Want::Log { uid, container, from, until: self.now });
        true
    }

    /// The pod whose log may say why, its container, and since when.
    fn log_of(&self, symptom: &Symptom) -> Option<(String, Option<String>, Ktime)> {
        if let Some(server) = self.failing_server(symptom) {
            let uid = self.pod_uid(server.cgroup)?;
            let container = self.identity.who(&self.snapshot, server.cgroup, None).container;
            return Some((uid, container, server.start_ns.saturating_sub(LOG_NS)));
        }
        let (remote, backend, start) = match symptom {
            Symptom::Connect(id) => self.window.connects.get(*id).map(|c| (c.remote, c.nat_remote, c.start_ns))?,
            Symptom::End(id) => self.window.signals.get(*id).map(|(at, s)| (s.remote, None, *at))?,
            _ => return None,
        };
        let pod = self.only_endpoint(self.target(remote, backend)).pod?;
        Some((pod.metadata.uid.clone(), None, start.saturating_sub(BEFORE_CONNECT_NS)))
    }

    /// The serving end of a failed exchange.
    fn failing_server(&self, symptom: &Symptom) -> Option<&Exchange> {
        let Symptom::Exchange(id) = symptom else { return None };
        let exchange = self.window.exchanges.get(*id)?;
        match exchange.role {
            Role::Server => Some(exchange),
            Role::Client => self.window.other_end(exchange),
        }
    }

    fn pod_uid(&self, cgroup: u64) -> Option<String> {
        parse_cgroup_path(self.identity.path_of(cgroup)?)?.pod_uid
    }

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
                Around { resources, crowded, ..self.logged(uid.as_deref(), container, server.start_ns, until) }
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
