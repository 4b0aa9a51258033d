//! One logical DNS lookup out of its queries: search-path expansions, A beside AAAA, retries.

use std::{collections::VecDeque, net::SocketAddr};

use name::{base, extends, label};
use rustc_hash::FxHashMap;

use crate::event::{Actor, Dns, Ktime, Role};

mod name;

/// Queries of one lookup come close together; a resolver's retry waits up to its timeout (5 s by default).
const GAP_NS: u64 = 6_000_000_000;
const BOUND: usize = 20_000;
/// Transactions are told by their end: of a failed request that was answered or given up then, those of the last seconds.
const LATE_NS: u64 = 10_000_000_000;
/// Of one cgroup, looked through for what belongs to a transaction; and lookups that it may belong to, the latest.
const NEAR: usize = 4096;
const LATEST: usize = 256;
/// Questions of one lookup that are told apart: six search domains (the most that resolv.conf(5) takes), twice.
const QUESTIONS: usize = 16;
/// Queries younger than this when their request failed weren't waited for.
const GRACE_NS: u64 = 5_000_000;

/// How a lookup ended so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LookupOutcome {
    Answered,
    NoSuchName,
    ServerFailure(u8),
    Timeout,
}

/// One name and type that was asked for, and how the last try ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Question {
    name: String,
    query_type: String,
    outcome: LookupOutcome,
    end_ns: Ktime,
}

/// A name that someone wanted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lookup {
    pub(crate) cgroup: u64,
    pub(crate) actor: Actor,
    /// Without search-path expansion.
    pub(crate) name: String,
    pub(crate) start_ns: Ktime,
    pub(crate) end_ns: Ktime,
    pub(crate) outcome: LookupOutcome,
    /// Datagrams or segments, repeated ones included.
    pub(crate) transmissions: u32,
    /// What was asked: expansions of the name, A beside AAAA.
    pub(crate) questions: Vec<Question>,
    pub(crate) client: SocketAddr,
    pub(crate) clients: Vec<SocketAddr>,
    pub(crate) resolver: SocketAddr,
    /// Its transactions.
    pub(crate) numbers: Vec<u64>,
}

#[derive(Clone, Debug)]
struct Transaction {
    dns: Dns,
    base: String,
    /// Of the name's first label, which all expansions share.
    label: u64,
}

/// Transactions of one cgroup, as they were told.
#[derive(Debug, Default)]
struct Asked {
    items: VecDeque<Transaction>,
    /// Without an answer so far.
    unanswered: usize,
}

/// Recent transactions, and the queries that reached a resolver here without being answered.
#[derive(Debug, Default)]
pub(crate) struct Lookups {
    by_cgroup: FxHashMap<u64, Asked>,
    /// The cgroups of all transactions, as they were told.
    order: VecDeque<u64>,
    unanswered: VecDeque<Dns>,
    /// Forgotten because the bound was reached, not because of age.
    pub(crate) overflowed: u64,
}

/// Tells a transaction from others.
pub(crate) fn number(dns: &Dns) -> u64 {
    dns.start_ns.rotate_left(21) ^ dns.cgroup ^ u64::from(dns.local.port())
}

impl Lookups {
    /// Adds a transaction; one that was still unanswered at an earlier look is replaced.
    pub(crate) fn add(&mut self, dns: Dns, namespace: Option<&str>) {
        let same = |other: &Dns| {
            other.start_ns == dns.start_ns
                && other.local == dns.local
                && other.cgroup == dns.cgroup
                && other.name == dns.name
                && other.query_type == dns.query_type
        };
        if dns.role == Role::Server {
            if dns.rcode.is_none() {
                if let Some(known) = self.unanswered.iter_mut().rev().take(NEAR).find(|d| same(d)) {
                    *known = dns;
                    return;
                }
                self.unanswered.push_back(dns);
                if self.unanswered.len() > BOUND {
                    self.unanswered.pop_front();
                    self.overflowed += 1;
                }
            }
            return;
        }
        let asked = self.by_cgroup.entry(dns.cgroup).or_default();
        if (asked.unanswered > 0 || dns.rcode.is_none())
            && let Some(known) = asked.items.iter_mut().rev().take(NEAR).find(|t| same(&t.dns))
        {
            // An answer is final.
            if known.dns.rcode.is_none() {
                asked.unanswered -= usize::from(dns.rcode.is_some());
                known.dns = dns;
            }
            return;
        }
        asked.unanswered += usize::from(dns.rcode.is_none());
        self.order.push_back(dns.cgroup);
        asked.items.push_back(Transaction { base: base(&dns.name, namespace), label: label(&dns.name), dns });
        if self.order.len() > BOUND {
            self.forget_oldest();
            self.overflowed += 1;
        }
    }

    fn forget_oldest(&mut self) {
        let Some(cgroup) = self.order.pop_front() else { return };
        let Some(asked) = self.by_cgroup.get_mut(&cgroup) else { return };
        if let Some(oldest) = asked.items.pop_front() {
            asked.unanswered -= usize::from(oldest.dns.rcode.is_none());
        }
        if asked.items.is_empty() {
            self.by_cgroup.remove(&cgroup);
        }
    }

    pub(crate) fn expire(&mut self, limit: Ktime) {
        let oldest = |of: &Self| of.by_cgroup.get(of.order.front()?)?.items.front().map(|t| t.dns.end_ns);
        while oldest(self).is_some_and(|end| end < limit) {
            self.forget_oldest();
        }
        while self.unanswered.front().is_some_and(|d| d.end_ns < limit) {
            self.unanswered.pop_front();
        }
    }

    /// The lookups begun in an interval by whom the test admits, oldest first.
    pub(crate) fn fold(&self, from: Ktime, until: Ktime, mut of: impl FnMut(u64) -> bool) -> Vec<Lookup> {
        let mut found = Vec::new();
        for (_, asked) in self.by_cgroup.iter().filter(|(cgroup, _)| of(**cgroup)) {
            let recent = asked.items.iter().rev().take_while(|t| t.dns.end_ns.saturating_add(LATE_NS) >= from);
            let begun = recent.filter(|t| (from..=until).contains(&t.dns.start_ns));
            found.extend(folded(begun, until));
        }
        found.sort_by_key(|lookup: &Lookup| (lookup.start_ns, lookup.cgroup));
        found
    }

    /// The lookup that a transaction belongs to, as it stands now; of those begun within a time of it.
    pub(crate) fn of(&self, cgroup: u64, wanted: u64, within: u64, now: Ktime) -> Option<Lookup> {
        let asked = self.by_cgroup.get(&cgroup)?;
        let near = || asked.items.iter().rev().take(NEAR);
        let Transaction { dns, label, .. } = near().find(|t| number(&t.dns) == wanted)?;
        let alike = near().filter(|t| t.label == *label && t.dns.start_ns.abs_diff(dns.start_ns) <= within);
        folded(alike, now).into_iter().find(|lookup| lookup.numbers.contains(&wanted))
    }

    /// A query of that lookup which a resolver here received and didn't answer.
    pub(crate) fn reached(&self, lookup: &Lookup) -> Option<&Dns> {
        self.unanswered.iter().rev().find(|d| lookup.clients.contains(&d.remote))
    }
}

/// Lookups of one cgroup's transactions, which come the newest first.
fn folded<'a>(transactions: impl Iterator<Item = &'a Transaction>, until: Ktime) -> Vec<Lookup> {
    let mut found: Vec<Lookup> = Vec::new();
    let newest_first: Vec<_> = transactions.collect();
    for Transaction { dns, base, .. } in newest_first.into_iter().rev() {
        let outcome = match dns.rcode {
            _ if dns.end_ns > until.saturating_add(GRACE_NS) => LookupOutcome::Timeout,
            None => LookupOutcome::Timeout,
            Some(0) => LookupOutcome::Answered,
            Some(3) => LookupOutcome::NoSuchName,
            Some(code) => LookupOutcome::ServerFailure(code),
        };
        let same = |l: &&mut Lookup| {
            dns.start_ns.saturating_sub(l.end_ns) < GAP_NS
                // A resolver library asks in its caller's thread; other threads want other lookups.
                && (l.actor == dns.actor || l.actor.tid == 0 || dns.actor.tid == 0)
                && (l.name == *base || extends(base, &l.name) || extends(&l.name, base))
                && !l.knew(dns)
        };
        match found.iter_mut().rev().take(LATEST).find(same) {
            Some(lookup) => lookup.merge(dns, base, outcome, until),
            None => found.push(Lookup {
                cgroup: dns.cgroup,
                actor: dns.actor,
                name: base.clone(),
                start_ns: dns.start_ns,
                end_ns: dns.end_ns.min(until),
                outcome,
                transmissions: dns.transmissions,
                questions: vec![Question::new(dns, outcome)],
                client: dns.local,
                clients: vec![dns.local],
                resolver: dns.remote,
                numbers: vec![number(dns)],
            }),
        }
    }
    found
}

impl Lookup {
    /// The question had its answer before this query: whoever asks again looks up anew.
    fn knew(&self, dns: &Dns) -> bool {
        self.questions.iter().any(|q| {
            q.end_ns <= dns.start_ns
                && matches!(q.outcome, LookupOutcome::Answered | LookupOutcome::NoSuchName)
                && q.name == dns.name
                && q.query_type == dns.query_type
        })
    }

    pub(crate) fn failed(&self) -> bool {
        self.outcome != LookupOutcome::Answered
    }

    /// How often a question was asked again, by the same or another socket.
    pub(crate) fn retries(&self) -> u32 {
        self.transmissions.saturating_sub(self.questions.len() as u32)
    }

    /// Time from the first query to the last answer, or to when nobody waited any more.
    pub(crate) fn wasted_ms(&self) -> u64 {
        self.end_ns.saturating_sub(self.start_ns) / 1_000_000
    }

    fn merge(&mut self, dns: &Dns, base: &str, outcome: LookupOutcome, until: Ktime) {
        self.start_ns = self.start_ns.min(dns.start_ns);
        self.end_ns = self.end_ns.max(dns.end_ns.min(until));
        let room = self.questions.len() < QUESTIONS;
        match self.questions.iter_mut().find(|q| q.name == dns.name && q.query_type == dns.query_type) {
            // A retry that was answered makes the try before it good.
            Some(question) if outcome != LookupOutcome::Timeout => {
                (question.outcome, question.end_ns) = (outcome, dns.end_ns);
            }
            Some(_) => {}
            None if room => self.questions.push(Question::new(dns, outcome)),
            None => {}
        }
        self.transmissions += dns.transmissions;
        self.numbers.push(number(dns));
        if !self.clients.contains(&dns.local) && self.clients.len() < 32 {
            self.clients.push(dns.local);
        }
        if base.len() < self.name.len() {
            base.clone_into(&mut self.name);
        }
        let rank = |outcome: LookupOutcome| match outcome {
            LookupOutcome::Answered => 3,
            LookupOutcome::Timeout => 2,
            LookupOutcome::ServerFailure(_) => 1,
            LookupOutcome::NoSuchName => 0,
        };
        self.outcome = self.questions.iter().map(|q| q.outcome).max_by_key(|o| rank(*o)).unwrap_or(outcome);
        if outcome == self.outcome {
            self.client = dns.local;
            self.resolver = dns.remote;
        }
    }
}

impl Question {
    fn new(dns: &Dns, outcome: LookupOutcome) -> Self {
        Self { name: dns.name.clone(), query_type: dns.query_type.clone(), outcome, end_ns: dns.end_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(port: u16, start_ns: Ktime, name: &str, query_type: &str, rcode: Option<u8>) -> Dns {
        Dns {
            role: Role::Client,
            netns: 1,
            cgroup: 7,
            local: SocketAddr::from(([10, 1, 0, 5], port)),
            remote: SocketAddr::from(([10, 96, 0, 10], 53)),
            actor: Actor { tgid: 9, tid: 9 },
            comm: "app".to_owned(),
            start_ns,
            end_ns: start_ns + 10_000_000,
            transmissions: 1,
            tcp: false,
            name: name.to_owned(),
            query_type: query_type.to_owned(),
            rcode,
            addresses: vec![],
        }
    }

    #[test]
    fn expansions_and_retries_are_one_lookup() {
        let mut lookups = Lookups::default();
        for (port, at, name, kind, rcode) in [
            (1, 0, "cartt.shop.svc.cluster.local", "A", None),
            (2, 1_000_000_000, "cartt.shop.svc.cluster.local", "A", Some(3)),
            (2, 1_000_000_000, "cartt.shop.svc.cluster.local", "AAAA", Some(3)),
            (3, 1_020_000_000, "cartt", "A", Some(3)),
        ] {
            lookups.add(query(port, at, name, kind, rcode), Some("shop"));
        }
        let found = lookups.fold(0, Ktime::MAX, |cgroup| cgroup == 7);
        assert_eq!(found.len(), 1);
        let lookup = &found[0];
        assert_eq!((lookup.name.as_str(), lookup.questions.len(), lookup.retries()), ("cartt", 3, 1));
        assert_eq!(lookup.outcome, LookupOutcome::NoSuchName);
        assert_eq!((lookup.wasted_ms(), lookup.clients.len()), (1030, 3));
    }

    #[test]
    fn what_was_answered_and_is_asked_again_is_another_lookup() {
        let mut lookups = Lookups::default();
        let silent = query(2, 1_000_000_000, "cart.shop.svc.cluster.local", "A", None);
        for dns in [
            query(1, 0, "cart.shop.svc.cluster.local", "A", Some(0)),
            query(1, 0, "cart.shop.svc.cluster.local", "AAAA", Some(0)),
            silent.clone(),
            query(2, 1_000_000_000, "cart.shop.svc.cluster.local", "AAAA", None),
        ] {
            lookups.add(dns, Some("shop"));
        }
        let outcomes = |lookups: &Lookups| -> Vec<_> {
            lookups.fold(0, Ktime::MAX, |_| true).iter().map(|l| (l.outcome, l.questions.len())).collect()
        };
        assert_eq!(outcomes(&lookups), [(LookupOutcome::Answered, 2), (LookupOutcome::Timeout, 2)]);
        let found = lookups.of(7, number(&silent), 15_000_000_000, 7_000_000_000).unwrap();
        assert_eq!((found.outcome, found.start_ns), (LookupOutcome::Timeout, silent.start_ns));
        // What is answered after all, or by another server, is that lookup still.
        lookups.add(Dns { rcode: Some(0), ..silent }, Some("shop"));
        assert_eq!(outcomes(&lookups), [(LookupOutcome::Answered, 2), (LookupOutcome::Answered, 2)]);
    }

    #[test]
    fn what_is_old_or_too_much_is_forgotten() {
        let mut lookups = Lookups::default();
        for n in 0..BOUND as u64 + 10 {
            lookups.add(Dns { cgroup: n % 3, ..query(1, n, &format!("name-{n}"), "A", None) }, None);
        }
        assert_eq!((lookups.order.len(), lookups.overflowed), (BOUND, 10));
        assert_eq!(lookups.fold(0, Ktime::MAX, |_| true).len(), BOUND);
        lookups.expire(Ktime::MAX);
        assert!(lookups.order.is_empty() && lookups.by_cgroup.is_empty());
    }
}
