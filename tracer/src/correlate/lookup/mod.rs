//! One logical DNS lookup out of its queries: search-path expansions, A beside AAAA, retries.

use std::{collections::VecDeque, hash::BuildHasher as _, net::SocketAddr};

use name::{base, extends, label};
use received::Received;
use rustc_hash::{FxBuildHasher, FxHashMap};

use crate::event::{Actor, Dns, Ktime, Role};

mod name;
mod received;
#[cfg(test)]
mod tests;

/// Queries of one lookup come close together; a resolver's retry waits up to its timeout (5 s by default).
const GAP_NS: u64 = 6_000_000_000;
const BOUND: usize = 20_000;
/// Transactions are told in the order of their ends, but for this: what is unanswered is told when it is given up.
const LATE_NS: u64 = 10_000_000_000;
/// Transactions of one cgroup that are looked through for those of the same lookup, and how many it may have on each side.
const NEAR: usize = 4096;
const SIDE: usize = 64;
/// Lookups that a transaction may belong to, the latest.
const LATEST: usize = 256;
/// Questions of one lookup that are told apart: six search domains (the most that resolv.conf(5) takes), twice.
const QUESTIONS: usize = 16;
/// A resolver goes on to the next search domain at once, and the answers in between take no longer than this.
const NEXT_NS: u64 = 1_000_000_000;
/// Queries younger than this when their request failed weren't waited for.
const GRACE_NS: u64 = 5_000_000;

/// How a lookup ended so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LookupOutcome {
    /// In a way that fails nobody.
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
    /// It was asked for in the cluster's search domains.
    searched: bool,
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
    pub(crate) tcp: bool,
    /// Its transactions.
    pub(crate) numbers: Vec<u64>,
}

#[derive(Clone, Debug)]
struct Transaction {
    sequence: u64,
    dns: Dns,
    base: String,
    /// The cluster's search domains were behind it: what is before them is what was asked for.
    searched: bool,
    /// Of the name's first label, which all expansions share.
    label: u64,
}

/// Transactions of one cgroup, as they were told.
#[derive(Debug, Default)]
struct Asked(VecDeque<Transaction>);

impl Asked {
    /// Those begun since then, the newest first, and some before.
    fn since(&self, from: Ktime) -> impl Iterator<Item = &Transaction> {
        self.0.iter().rev().take_while(move |t| t.dns.end_ns.saturating_add(LATE_NS) >= from)
    }

    fn place(&self, sequence: u64) -> Option<usize> {
        self.0.binary_search_by_key(&sequence, |t| t.sequence).ok()
    }
}

/// Recent transactions, and the queries that reached a resolver here without a good answer.
#[derive(Debug, Default)]
pub(crate) struct Lookups {
    by_cgroup: FxHashMap<u64, Asked>,
    /// The cgroups of all transactions, as they were told.
    order: VecDeque<u64>,
    last: u64,
    /// Sequence numbers by [`key`]: what is unanswered is told again with every look.
    known: FxHashMap<u64, u64>,
    received: Received,
    /// Forgotten because the bound was reached, not because of age.
    pub(crate) overflowed: u64,
}

/// Tells a transaction from others.
fn number(dns: &Dns) -> u64 {
    dns.start_ns.rotate_left(21) ^ dns.cgroup ^ u64::from(dns.local.port())
}

/// The same for a transaction that is told twice, and for no other.
fn key(dns: &Dns) -> u64 {
    let Dns { role, start_ns, cgroup, local, name, query_type, .. } = dns;
    FxBuildHasher.hash_one((role, start_ns, cgroup, local, name, query_type))
}

impl Lookups {
    /// Adds a transaction; one that was still unanswered at an earlier look is replaced. A client's can be asked for by the
    /// number returned.
    pub(crate) fn add(&mut self, dns: Dns, namespace: Option<&str>) -> Option<u64> {
        let key = key(&dns);
        if dns.role == Role::Server {
            self.overflowed += u64::from(self.received.add(key, dns));
            return None;
        }
        let asked = self.by_cgroup.entry(dns.cgroup).or_default();
        if let Some(sequence) = self.known.get(&key)
            && let Some(place) = asked.place(*sequence)
        {
            // An answer is final.
            let known = &mut asked.0[place];
            if known.dns.rcode.is_none() {
                known.dns = dns;
            }
            return Some(*sequence);
        }
        self.last += 1;
        let (sequence, base, label) = (self.last, base(&dns.name, namespace), label(&dns.name));
        // Without the namespace something of the domain may be left.
        let searched = namespace.is_some() && base != dns.name;
        self.known.insert(key, sequence);
        self.order.push_back(dns.cgroup);
        asked.0.push_back(Transaction { sequence, dns, base, searched, label });
        if self.order.len() > BOUND {
            self.forget_oldest();
            self.overflowed += 1;
        }
        Some(sequence)
    }

    fn forget_oldest(&mut self) {
        let Some(cgroup) = self.order.pop_front() else { return };
        let Some(asked) = self.by_cgroup.get_mut(&cgroup) else { return };
        if let Some(oldest) = asked.0.pop_front() {
            self.known.remove(&key(&oldest.dns));
        }
        if asked.0.is_empty() {
            self.by_cgroup.remove(&cgroup);
        }
    }

    pub(crate) fn expire(&mut self, limit: Ktime) {
        let oldest = |of: &Self| of.by_cgroup.get(of.order.front()?)?.0.front().map(|t| t.dns.end_ns);
        while oldest(self).is_some_and(|end| end < limit) {
            self.forget_oldest();
        }
        self.received.expire(limit);
    }

    /// The lookups begun in an interval by whom the test admits, on their own account, oldest first.
    pub(crate) fn fold(&self, from: Ktime, until: Ktime, mut of: impl FnMut(u64) -> bool) -> Vec<Lookup> {
        let mut found = Vec::new();
        for (_, asked) in self.by_cgroup.iter().filter(|(cgroup, _)| of(**cgroup)) {
            let begun = asked.since(from).filter(|t| (from..=until).contains(&t.dns.start_ns));
            let mut begun: Vec<_> = begun.filter(|t| !self.received.is_passed_on(&t.dns)).collect();
            begun.reverse();
            found.extend(folded(&begun, until));
        }
        found.sort_by_key(|lookup: &Lookup| (lookup.start_ns, lookup.cgroup));
        found
    }

    /// The lookup that a transaction belongs to, as it stands now; of those begun within a time of it. None for what is only
    /// passed on.
    pub(crate) fn of(&self, cgroup: u64, sequence: u64, within: u64, now: Ktime) -> Option<Lookup> {
        let asked = self.by_cgroup.get(&cgroup)?;
        let (items, at) = (&asked.0, asked.place(sequence)?);
        let wanted = &items[at];
        if self.received.is_passed_on(&wanted.dns) {
            return None;
        }
        let alike = |t: &&Transaction| {
            t.label == wanted.label
                && t.dns.start_ns.abs_diff(wanted.dns.start_ns) <= within
                && is_one(t.dns.actor, wanted.dns.actor)
        };
        let mut found: Vec<_> = items.range(..at).rev().take(NEAR).filter(alike).take(SIDE).collect();
        found.reverse();
        found.push(wanted);
        found.extend(items.range(at + 1..).take(NEAR).filter(alike).take(SIDE));
        let number = number(&wanted.dns);
        folded(&found, now).into_iter().find(|lookup| lookup.numbers.contains(&number))
    }

    /// Whether the same name was resolved in a query of that container's since the lookup began, by whom the test admits.
    pub(crate) fn resolved(&self, failed: &Lookup, until: Ktime, by: impl Fn(Actor) -> bool) -> bool {
        let label = label(&failed.name);
        let since = || self.by_cgroup.get(&failed.cgroup).into_iter().flat_map(|asked| asked.since(failed.start_ns));
        let alike = || since().filter(|t| t.label == label);
        // The failed one may have been this name in a search domain of the node, tried by another thread.
        let was_candidate = |t: &Transaction| {
            t.dns.start_ns.saturating_sub(failed.end_ns) < NEXT_NS
                && extends(&failed.name, &t.base)
                && !alike().any(|t| t.base == failed.name && t.searched)
        };
        alike().filter(|t| t.dns.rcode == Some(0) && by(t.dns.actor)).any(|t| {
            (failed.start_ns..=until).contains(&t.dns.start_ns)
                && t.dns.end_ns <= until.saturating_add(GRACE_NS)
                && (t.base == failed.name || (extends(&t.base, &failed.name) && !t.searched) || was_candidate(t))
        })
    }

    /// A query of that lookup which a resolver here received and didn't answer, or with a failure.
    pub(crate) fn reached(&self, lookup: &Lookup) -> Option<&Dns> {
        self.received.of(lookup)
    }

    /// The lookup by which a resolver passed on what it had received, if that wasn't answered until then either.
    pub(crate) fn passed_on(&self, received: &Dns, until: Ktime) -> Option<Lookup> {
        let same = |t: &&Transaction| {
            (&t.dns.name, &t.dns.query_type, t.dns.netns) == (&received.name, &received.query_type, received.netns)
                && (received.start_ns..=until).contains(&t.dns.start_ns)
                && self.received.is_passed_on(&t.dns)
        };
        let since = self.by_cgroup.get(&received.cgroup)?.since(received.start_ns);
        let mut found: Vec<_> = since.filter(same).take(SIDE).collect();
        found.reverse();
        folded(&found, until).into_iter().find(|lookup| lookup.outcome == LookupOutcome::Timeout)
    }
}

/// A resolver library asks in its caller's thread; other threads want other lookups.
fn is_one(a: Actor, b: Actor) -> bool {
    a == b || a.tid == 0 || b.tid == 0
}

/// Whoever wants to connect asks for these.
fn is_for_an_address(query_type: &str) -> bool {
    matches!(query_type, "A" | "AAAA")
}

fn outcome(dns: &Dns, until: Ktime) -> LookupOutcome {
    match dns.rcode {
        // For logs, of zones that often nobody serves.
        _ if dns.query_type == "PTR" => LookupOutcome::Answered,
        _ if dns.end_ns > until.saturating_add(GRACE_NS) => LookupOutcome::Timeout,
        None => LookupOutcome::Timeout,
        Some(0) => LookupOutcome::Answered,
        // Most of what is asked for beside an address isn't there on most days, and is done without.
        Some(_) if !is_for_an_address(&dns.query_type) => LookupOutcome::Answered,
        Some(3) => LookupOutcome::NoSuchName,
        Some(code) => LookupOutcome::ServerFailure(code),
    }
}

/// Lookups of one cgroup's transactions, in the order in which they were told.
fn folded(transactions: &[&Transaction], until: Ktime) -> Vec<Lookup> {
    let mut found: Vec<Lookup> = Vec::new();
    for transaction in transactions {
        let Transaction { dns, base, searched, .. } = transaction;
        let outcome = outcome(dns, until);
        // A longer name may be the other one in a search domain of the node, unless it was asked for itself.
        let same = |l: &&mut Lookup| {
            dns.start_ns.saturating_sub(l.end_ns) < GAP_NS
                && is_one(l.actor, dns.actor)
                && (l.name == *base || (extends(base, &l.name) && !searched) || (extends(&l.name, base) && !l.searched))
        };
        let latest = found.iter_mut().rev().take(LATEST).filter(same).min_by_key(|lookup| lookup.name != *base);
        // Who asks again what was answered looks up anew.
        match latest.filter(|lookup| !lookup.knew(dns)) {
            Some(lookup) => lookup.merge(transaction, outcome, until),
            None => found.push(Lookup {
                cgroup: dns.cgroup,
                actor: dns.actor,
                name: base.clone(),
                searched: *searched,
                start_ns: dns.start_ns,
                end_ns: dns.end_ns.min(until),
                outcome,
                transmissions: dns.transmissions,
                questions: vec![Question::new(dns, outcome)],
                client: dns.local,
                clients: vec![dns.local],
                resolver: dns.remote,
                tcp: dns.tcp,
                numbers: vec![number(dns)],
            }),
        }
    }
    found
}

impl Lookup {
    /// The question had its answer before this query.
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

    fn merge(&mut self, transaction: &Transaction, outcome: LookupOutcome, until: Ktime) {
        let Transaction { dns, base, searched, .. } = transaction;
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
            (self.name, self.searched) = (base.clone(), *searched);
        }
        self.searched |= *searched;
        let rank = |outcome: LookupOutcome| match outcome {
            LookupOutcome::Answered => 3,
            LookupOutcome::Timeout => 2,
            LookupOutcome::ServerFailure(_) => 1,
            LookupOutcome::NoSuchName => 0,
        };
        let decisive = self.questions.iter().max_by_key(|q| (is_for_an_address(&q.query_type), rank(q.outcome)));
        self.outcome = decisive.map_or(outcome, |q| q.outcome);
        if outcome == self.outcome {
            (self.client, self.resolver, self.tcp) = (dns.local, dns.remote, dns.tcp);
        }
    }
}

impl Question {
    fn new(dns: &Dns, outcome: LookupOutcome) -> Self {
        Self { name: dns.name.clone(), query_type: dns.query_type.clone(), outcome, end_ns: dns.end_ns }
    }
}
