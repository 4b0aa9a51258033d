//! What is asked of the node when something fails: resources of the failing server at once, since they may be free again
//! soon; its log a moment later, since it is written late. Failures of one server share their looks. Bounded: what is left
//! unasked is counted.

use std::{collections::VecDeque, net::SocketAddr};

use rustc_hash::FxHashMap;

use super::{
    Correlator, Want,
    around::NEAR_NS,
    symptom::{Symptom, Unexamined},
};
use crate::{
    event::{Drop, Exchange, Flow, HostFact, Ktime, Log, Outcome, Resources, Role, Rule, UnansweredSyn},
    k8s::cgroup::parse_cgroup_path,
};

/// A container runtime passes a line on within this, and the verdict comes after it.
const LOG_NS: u64 = 100_000_000;
/// The same is asked again after this,
const AGAIN_NS: u64 = 250_000_000;
/// and, while it goes on, after this at the latest: every failure has a reading near it.
const LATEST_NS: u64 = NEAR_NS;
/// What hasn't been asked for so long begins anew.
const CALM_NS: u64 = 5_000_000_000;
/// A ruleset is listed within this, and not at all after that.
const RULE_NS: u64 = 500_000_000;
const RULE_GONE_NS: u64 = 5_000_000_000;
/// Listing a ruleset costs more, and rules stay.
const RULE_AGAIN_NS: u64 = 30_000_000_000;
/// Questions of a kind in one second: of what decides over a cause, and of logs, which tell more of it.
const PER_SECOND: u32 = 128;
/// And in ten minutes: answers are kept in capture files, and looking costs.
const PER_PERIOD: u32 = 10_000;
const PERIOD_NS: u64 = 600_000_000_000;
const WAITING: usize = 200;
const ANSWERS: usize = 1000;
/// Containers whose looks were left out.
const LEFT_OUT: usize = 4096;
/// What was logged before a connect failed may tell why nobody listens.
pub(super) const BEFORE_CONNECT_NS: u64 = 10_000_000_000;

/// Questions asked, and answers.
#[derive(Debug, Default)]
pub(crate) struct Inquiries {
    waiting: VecDeque<Waiting>,
    asked: FxHashMap<Subject, Asked>,
    /// The second that is counted, and what was asked in it, logs apart.
    second: (Ktime, [u32; 2]),
    /// The ten minutes that are counted, and what was asked in them.
    period: (Ktime, u32),
    /// Left unasked.
    pub(crate) skipped: u64,
    /// When resources of a container were last left unasked.
    pub(super) left_out: FxHashMap<u64, Ktime>,
    /// The same of a server that wasn't known.
    pub(super) left_out_of_any: Option<Ktime>,
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

#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    at: Ktime,
    /// In a row.
    times: u32,
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
        self.asked.retain(|_, asked| asked.at >= limit);
        self.left_out.retain(|_, at| *at >= limit);
    }

    /// Resources aren't asked for: of that container, or of one that isn't known.
    fn leave_out(&mut self, container: Option<u64>, now: Ktime) {
        match container.filter(|key| self.left_out.len() < LEFT_OUT || self.left_out.contains_key(key)) {
            Some(container) => _ = self.left_out.insert(container, now),
            None => self.left_out_of_any = Some(now),
        }
    }

    /// Whether to ask, now; counts what isn't asked for want of room.
    fn admits(&mut self, subject: Subject, now: Ktime) -> bool {
        let Asked { at, times } = self.asked.get(&subject).copied().unwrap_or_default();
        let times = if now.saturating_sub(at) < CALM_NS { times } else { 0 };
        let again = match subject {
            Subject::Rule(..) => RULE_AGAIN_NS,
            Subject::Log(_) => AGAIN_NS,
            Subject::Resources(..) => LATEST_NS.min(AGAIN_NS << times.saturating_sub(1).min(8)),
        };
        if at != 0 && now.saturating_sub(at) < again {
            return false;
        }
        if now / 1_000_000_000 != self.second.0 {
            self.second = (now / 1_000_000_000, [0; 2]);
        }
        if now / PERIOD_NS != self.period.0 {
            self.period = (now / PERIOD_NS, 0);
        }
        let asked = &mut self.second.1[usize::from(matches!(subject, Subject::Log(_)))];
        if *asked >= PER_SECOND || self.period.1 >= PER_PERIOD {
            self.skipped += 1;
            if let Subject::Resources(container, _) = subject {
                self.leave_out(Some(container), now);
            }
            return false;
        }
        *asked += 1;
        self.period.1 += 1;
        self.asked.insert(subject, Asked { at: now, times: times + 1 });
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
        let Some(place) = self.looked_at(symptom) else { return };
        let known = matches!(place, Place::Server(..));
        let resources = known && self.ask_resources(symptom);
        // Another failure there waits already: its looks are this one's, too.
        let alike = |waiting: &Waiting| waiting.place == place && place != Place::OtherEnd;
        if self.inquiries.waiting.iter().any(alike) {
            return;
        }
        if self.inquiries.waiting.len() >= WAITING {
            self.inquiries.skipped += 1;
            if place == Place::OtherEnd {
                self.inquiries.leave_out(None, at);
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
            if due {
                self.ask_log(&waiting.symptom);
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
        let awaited = self.inquiries.asked.get(&subject).is_some_and(|asked| asked.at == self.now);
        let asked = self.now.saturating_sub(*at) < NEAR_NS && (awaited || self.ask(subject, want));
        if asked && let Some((uid, container, from)) = self.log_of_server(server) {
            self.ask(Subject::Log(uid.clone()), Want::Log { uid, container, from, until: self.now });
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
        if accept_queue > accept_queue_max {
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

    fn ask_log(&mut self, symptom: &Symptom) {
        let Some((uid, container, from)) = self.log_of(symptom) else { return };
        self.ask(Subject::Log(uid.clone()), Want::Log { uid, container, from, until: self.now });
    }

    /// Whether it was asked.
    fn ask(&mut self, subject: Subject, want: Want) -> bool {
        let admitted = self.inquiries.admits(subject, self.now);
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

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn what_goes_on_failing_is_looked_at_less_often_but_every_second() {
        let mut inquiries = Inquiries::default();
        let asked = (1000..10_000).filter(|ms| inquiries.admits(Subject::Resources(1, 2), ms * MS));
        assert_eq!(asked.take(6).collect::<Vec<_>>(), [1000, 1250, 1750, 2750, 3750, 4750]);
        assert_eq!(inquiries.skipped, 0);
        assert!(inquiries.admits(Subject::Resources(1, 2), 20_000 * MS));
        assert!(inquiries.admits(Subject::Resources(1, 2), 20_250 * MS));
    }

    #[test]
    fn looks_are_bounded_and_those_left_out_are_their_containers() {
        let mut inquiries = Inquiries::default();
        let admitted = (0..200).filter(|container| inquiries.admits(Subject::Resources(*container, 0), MS)).count();
        assert_eq!((admitted, inquiries.skipped), (128, 72));
        assert!(inquiries.admits(Subject::Log("pod".into()), MS), "logs don't displace them, nor they logs");
        assert_eq!(inquiries.left_out.get(&127), None);
        assert_eq!(inquiries.left_out.get(&128), Some(&MS));
        assert!(inquiries.admits(Subject::Resources(128, 0), 1000 * MS), "another second");
    }
}
