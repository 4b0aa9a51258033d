//! One logical DNS lookup out of its queries: search-path expansions, A beside AAAA, retries.

use std::{collections::VecDeque, net::SocketAddr};

use crate::event::{Actor, Dns, Ktime, Role};

/// Queries of one lookup come close together; a resolver's retry waits up to its timeout (5 s by default).
const GAP_NS: u64 = 6_000_000_000;
const BOUND: usize = 20_000;
/// Questions of one lookup that are told apart: six search domains (the most that resolv.conf(5) takes), twice.
const QUESTIONS: usize = 16;
/// Queries younger than this when their request failed weren't waited for.
const GRACE_NS: u64 = 5_000_000;
/// The domain that nearly every cluster uses; others are learned from `.svc.` in the names themselves.
const CLUSTER_DOMAIN: &str = "cluster.local";

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
}

/// Recent transactions, and the queries that reached a resolver here without being answered.
#[derive(Debug, Default)]
pub(crate) struct Lookups {
    items: VecDeque<Transaction>,
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
                if let Some(known) = self.unanswered.iter_mut().rev().take(4096).find(|d| same(d)) {
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
        if let Some(known) = self.items.iter_mut().rev().take(4096).find(|t| same(&t.dns)) {
            // An answer is final.
            if known.dns.rcode.is_none() {
                known.dns = dns;
            }
            return;
        }
        let base = base(&dns.name, namespace);
        self.items.push_back(Transaction { dns, base });
        if self.items.len() > BOUND {
            self.items.pop_front();
            self.overflowed += 1;
        }
    }

    pub(crate) fn expire(&mut self, limit: Ktime) {
        while self.items.front().is_some_and(|t| t.dns.end_ns < limit) {
            self.items.pop_front();
        }
        while self.unanswered.front().is_some_and(|d| d.end_ns < limit) {
            self.unanswered.pop_front();
        }
    }

    /// The lookups begun in an interval by whom the test admits, oldest first.
    pub(crate) fn fold(&self, from: Ktime, until: Ktime, mut of: impl FnMut(u64) -> bool) -> Vec<Lookup> {
        let mut found: Vec<Lookup> = Vec::new();
        for transaction in &self.items {
            let Transaction { dns, base } = transaction;
            if dns.start_ns < from || dns.start_ns > until || !of(dns.cgroup) {
                continue;
            }
            let outcome = match dns.rcode {
                _ if dns.end_ns > until.saturating_add(GRACE_NS) => LookupOutcome::Timeout,
                None => LookupOutcome::Timeout,
                Some(0) => LookupOutcome::Answered,
                Some(3) => LookupOutcome::NoSuchName,
                Some(code) => LookupOutcome::ServerFailure(code),
            };
            let same = |l: &&mut Lookup| {
                l.cgroup == dns.cgroup
                    // A resolver library asks in its caller's thread; other threads want other lookups.
                    && (l.actor == dns.actor || l.actor.tid == 0 || dns.actor.tid == 0)
                    && dns.start_ns.saturating_sub(l.end_ns) < GAP_NS
                    && (l.name == *base || extends(base, &l.name) || extends(&l.name, base))
            };
            match found.iter_mut().rev().find(same) {
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

    /// A query of that lookup which a resolver here received and didn't answer.
    pub(crate) fn reached(&self, lookup: &Lookup) -> Option<&Dns> {
        self.unanswered.iter().rev().find(|d| lookup.clients.contains(&d.remote))
    }
}

impl Lookup {
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
            Some(question) if outcome != LookupOutcome::Timeout => question.outcome = outcome,
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
        Self { name: dns.name.clone(), query_type: dns.query_type.clone(), outcome }
    }
}

/// `long` is `short` with a search domain behind it.
fn extends(long: &str, short: &str) -> bool {
    long.len() > short.len() && long.starts_with(short) && long.as_bytes()[short.len()] == b'.' && !short.is_empty()
}

/// The name that was asked for, without the kubelet's search domains (`NS.svc.DOMAIN`, `svc.DOMAIN`, `DOMAIN`).
fn base(name: &str, namespace: Option<&str>) -> String {
    let domain = name.rfind(".svc.").map_or(CLUSTER_DOMAIN, |at| &name[at + 5..]);
    let mut rest = name;
    loop {
        let before = rest;
        if let Some(namespace) = namespace {
            rest = rest.strip_suffix(&format!(".{namespace}.svc.{domain}")).unwrap_or(rest);
        }
        rest = rest.strip_suffix(&format!(".svc.{domain}")).unwrap_or(rest);
        rest = rest.strip_suffix(&format!(".{domain}")).unwrap_or(rest);
        if rest == before {
            return rest.to_owned();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_domains_fold_into_the_name_that_was_asked_for() {
        let ns = Some("shop");
        for name in ["cart.shop.svc.cluster.local", "cart.svc.cluster.local", "cart.cluster.local", "cart"] {
            assert_eq!(base(name, ns), "cart", "{name}");
        }
        assert_eq!(base("cart.other.svc.cluster.local", ns), "cart.other");
        assert_eq!(base("cart.other.svc.cluster.local.shop.svc.cluster.local", ns), "cart.other");
        assert_eq!(base("api.example.com.shop.svc.cluster.local", ns), "api.example.com");
        assert_eq!(base("cart.shop.svc.corp.example", ns), "cart");
    }

    #[test]
    fn a_node_domain_behind_a_name_extends_it() {
        assert!(extends("api.example.com.ec2.internal", "api.example.com"));
        assert!(!extends("api.example.community", "api.example.com"));
    }

    #[test]
    fn expansions_and_retries_are_one_lookup() {
        let query = |port: u16, start_ns, name: &str, query_type: &str, rcode| Dns {
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
        };
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
}
