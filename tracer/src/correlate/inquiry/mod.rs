//! What is asked of the node when something fails: resources of the failing server at once, since they may be free again
//! soon; its log a moment later, since it is written late. Failures of one server share their looks. Bounded: what is left
//! unasked is counted.

use std::{collections::VecDeque, net::SocketAddr};

use pace::{Pace, Subject};

use super::{
    Correlator, Want,
    around::NEAR_NS,
    symptom::{Symptom, Unexamined},
};
use crate::{
    event::{Drop, Exchange, Flow, HostFact, Ktime, Log, Outcome, Resources, Role, Rule, UnansweredSyn},
    k8s::cgroup::parse_cgroup_path,
};

mod pace;

/// A container runtime passes a line on within this, and the verdict comes after it.
const LOG_NS: u64 = 100_000_000;
/// A ruleset is listed within this, and not at all after that.
const RULE_NS: u64 = 500_000_000;
const RULE_GONE_NS: u64 = 5_000_000_000;
const WAITING: usize = 200;
const ANSWERS: usize = 1000;
/// What was logged before a connect failed may tell why nobody listens.
pub(super) const BEFORE_CONNECT_NS: u64 = 10_000_000_000;

/// Questions asked, and answers.
#[derive(Debug, Default)]
pub(crate) struct Inquiries {
    waiting: VecDeque<Waiting>,
    pub(super) pace: Pace,
    pub(super) resources: VecDeque<(Ktime, Resources)>,
    pub(super) logs: VecDeque<(Ktime, Log)>,
    rules: VecDeque<(Ktime, Rule)>,
    /// When the question for a rule was asked that has no answer yet: one at a time.
    rule_asked: Option<Ktime>,
}

#[derive(Debug)]
struct Waiting {
    at: Ktime,
    symptom: Symptom,
    place: Place,
    /// Resources were asked for.
    resources: bool,
}

/// Whose failure it is, as far as it is known at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A container and a process.
    Server(u64, u32),
    /// Nobody answered there.
    Target(SocketAddr),
    /// Whoever got a client's request.
    OtherEnd,
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
        self.pace.expire(limit);
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
        let Some(place) = self.looked_at(symptom) else { return };
        let known = matches!(place, Place::Server(..));
        let resources = known && self.ask_resources(symptom);
        // Another failure there waits already: its looks are this one's, too.
        let alike = |waiting: &Waiting| waiting.place == place && place != Place::OtherEnd;
        if self.inquiries.waiting.iter().any(alike) {
            return;
        }
        if self.inquiries.waiting.len() >= WAITING {
            self.inquiries.pace.skipped += 1;
            if place == Place::OtherEnd {
                self.inquiries.pace.leave_out(None, at);
            }
            return;
        }
        self.inquiries.waiting.push_back(Waiting { at, symptom: symptom.clone(), place, resources });
    }

    /// Where to look for what a failure tells; nothing if there is nothing to see, or if another failure tells the same.
    fn looked_at(&self, symptom: &Symptom) -> Option<Place> {
        match symptom {
            Symptom::Exchange(id) => {
                let exchange = self.window.exchanges.get(*id)?;
                match (exchange.role, exchange.outcome) {
                    (Role::Server, _) => {
                        let tgid = exchange.actor.map_or(0, |actor| actor.tgid);
                        Some(Place::Server(self.identity.container_key(exchange.cgroup), tgid))
                    }
                    // Whoever sent that answer failed, too, if it is on this node; or it only fails a probe.
                    (Role::Client, Outcome::Status(status)) if status >= self.min_status_of(exchange.cgroup) => None,
                    // Finding the other end takes longer, and it may not be known before a look.
                    (Role::Client, _) => Some(Place::OtherEnd),
                }
            }
            Symptom::Connect(id) => {
                self.window.connects.get(*id).map(|c| Place::Target(c.nat_remote.unwrap_or(c.remote)))
            }
            Symptom::End(id) => self.window.signals.get(*id).map(|(_, signal)| Place::Target(signal.remote)),
            // Nothing of theirs is on the node.
            Symptom::Attempt(_) | Symptom::Lookup { .. } => None,
        }
    }

    /// Time has passed: asks what couldn't be asked before. The time of the earliest failure that it was asked for: the
    /// answers are worth waiting for, however late it is on a busy node.
    pub(super) fn inquire_again(&mut self) -> Option<Ktime> {
        let mut since: Option<Ktime> = None;
        for mut waiting in std::mem::take(&mut self.inquiries.waiting) {
            let wants = self.wants.len();
            // The other end may only have been found by a look.
            waiting.resources = waiting.resources || self.ask_resources(&waiting.symptom);
            let due = self.now >= waiting.at.saturating_add(LOG_NS);
            if due && let Some(wanted) = self.log_of(&waiting.symptom) {
                self.ask_log(wanted);
            }
            if self.wants.len() > wants {
                since = Some(since.map_or(waiting.at, |at| at.min(waiting.at)));
            }
            if !due {
                self.inquiries.waiting.push_back(waiting);
            }
        }
        since
    }

    /// A verdict ends at a server that no failure led to before, as where a caller has answered and left its call open: asks
    /// now what a reading can still tell. True if the answer comes before the next round.
    pub(super) fn inquire_last(&mut self, Unexamined { server, at }: &Unexamined) -> bool {
        let (subject, want) = self.resources_of_server(server);
        // Another verdict of this round may have asked.
        let awaited = self.inquiries.pace.has_asked(&subject, self.now);
        let asked = self.now.saturating_sub(*at) < NEAR_NS && (awaited || self.ask(subject, want));
        if asked && let Some(wanted) = self.log_of_server(server) {
            self.ask_log(wanted);
        }
        asked
    }

    /// Nothing listens where a packet went: asks what does.
    pub(super) fn inquire_listeners(&mut self, netns: u32) {
        if netns != 0 {
            self.ask(Subject::Listeners(netns), Want::Listeners { netns });
        }
    }

    /// A packet was dropped in a network namespace that is no pod's: asks whose it is.
    pub(super) fn inquire_netns(&mut self, netns: u32) {
        if netns != 0 {
            self.ask(Subject::Netns(netns), Want::Netns { netns });
        }
    }

    /// A packet was dropped: asks which rule did it, if it was one and the packet a pod's.
    pub(super) fn inquire_drop(&mut self, drop: &Drop) {
        let Some(flow) = flow(drop) else { return };
        let is_pod = |address: SocketAddr| self.identity.pod_at(&self.snapshot, address.ip()).is_some();
        if !is_pod(flow.source) && !is_pod(flow.destination) || self.asks_rule(RULE_GONE_NS) {
            return;
        }
        if self.ask(Subject::Rule(flow.netns, flow.hook.clone(), flow.destination), Want::Rule(flow)) {
            self.inquiries.rule_asked = Some(self.now);
        }
    }

    fn asks_rule(&self, within: u64) -> bool {
        self.inquiries.rule_asked.is_some_and(|at| self.now < at.saturating_add(within))
    }

    /// Failures since then aren't decided yet: they may be of a packet whose rule is being looked for.
    pub(super) fn rule_awaited_since(&self) -> Option<Ktime> {
        self.inquiries.rule_asked.filter(|_| self.asks_rule(RULE_NS))
    }

    /// A SYN wasn't answered: asks what the listeners had no room for and, of a full queue, what keeps its process from
    /// accepting.
    pub(super) fn inquire_syn(&mut self, syn: &UnansweredSyn) {
        let UnansweredSyn { cgroup, netns, local, start_ns, accept_queue, accept_queue_max, .. } = *syn;
        if netns != 0 {
            self.ask(Subject::ListenCounts(netns), Want::ListenCounts { netns });
        }
        if accept_queue > accept_queue_max {
            let subject = Subject::Resources(self.identity.container_key(cgroup), 0);
            self.ask(subject, Want::Resources { cgroup, tgid: 0, netns, port: local.port(), since: start_ns });
        }
    }

    /// The rule that dropped a packet like this one.
    pub(super) fn rule_of(&self, drop: &Drop) -> Option<Rule> {
        let wanted = flow(drop)?;
        // A retry comes from another port.
        let alike =
            |f: &Flow| Flow { source: SocketAddr::new(f.source.ip(), wanted.source.port()), ..f.clone() } == wanted;
        self.inquiries.rules.iter().rev().find(|(_, rule)| alike(&rule.flow)).map(|(_, rule)| rule.clone())
    }

    /// True if nothing is left to ask.
    fn ask_resources(&mut self, symptom: &Symptom) -> bool {
        let Some(server) = self.failing_server(symptom) else { return !matches!(symptom, Symptom::Exchange(_)) };
        let (subject, want) = self.resources_of_server(server);
        self.ask(subject, want);
        true
    }

    /// The process that serves, or should.
    fn resources_of_server(&self, server: &Exchange) -> (Subject, Want) {
        let tgid = server.actor.map_or(0, |actor| actor.tgid);
        let (cgroup, port) = (server.cgroup, server.local.port());
        let want = Want::Resources { cgroup, tgid, netns: server.netns, port, since: server.start_ns };
        (Subject::Resources(self.identity.container_key(cgroup), tgid), want)
    }

    fn ask_log(&mut self, (uid, container, from): (String, Option<String>, Ktime)) {
        self.ask(Subject::Log(uid.clone()), Want::Log { uid, container, from, until: self.now });
    }

    /// Whether it was asked.
    fn ask(&mut self, subject: Subject, want: Want) -> bool {
        let admitted = self.inquiries.pace.admits(subject, self.now);
        if admitted {
            self.wants.push(want);
        }
        admitted
    }

    /// The pod whose log may say why, its container, and since when.
    fn log_of(&self, symptom: &Symptom) -> Option<(String, Option<String>, Ktime)> {
        if let Some(server) = self.failing_server(symptom) {
            return self.log_of_server(server);
        }
        let (remote, backend, start) = match symptom {
            Symptom::Connect(id) => self.window.connects.get(*id).map(|c| (c.remote, c.nat_remote, c.start_ns))?,
            Symptom::End(id) => self.window.signals.get(*id).map(|(at, s)| (s.remote, None, *at))?,
            _ => return None,
        };
        let pod = self.only_endpoint(self.target(remote, backend)).pod?;
        Some((pod.metadata.uid.clone(), None, start.saturating_sub(BEFORE_CONNECT_NS)))
    }

    fn log_of_server(&self, server: &Exchange) -> Option<(String, Option<String>, Ktime)> {
        let uid = self.pod_uid(server.cgroup)?;
        let container = self.identity.who(&self.snapshot, server.cgroup, None).container;
        Some((uid, container, server.start_ns.saturating_sub(LOG_NS)))
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

    pub(super) fn pod_uid(&self, cgroup: u64) -> Option<String> {
        parse_cgroup_path(self.identity.path_of(cgroup)?)?.pod_uid
    }
}
