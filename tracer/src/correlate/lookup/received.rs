//! What resolvers here were asked. A query of theirs that only passes that on is told as the failure of whoever asked.

use std::{collections::VecDeque, hash::BuildHasher as _};

use rustc_hash::{FxBuildHasher, FxHashMap};

use super::{BOUND, Lookup};
use crate::{
    event::{Dns, Ktime},
    recent::Recent,
};

/// A resolver may go on asking for this long after whoever asked it has been heard of last.
const PASSED_ON_NS: u64 = 30_000_000_000;

/// Queries that reached a resolver without a good answer; of others nothing is told.
#[derive(Debug)]
pub(super) struct Received {
    /// What wasn't answered, or by a failure, as it was told; of names that don't exist there are too many.
    failed: FxHashMap<u64, Dns>,
    order: VecDeque<u64>,
    /// Since when, and until when, each [`question`] was asked.
    asked: Recent<u64, (Ktime, Ktime)>,
}

impl Default for Received {
    fn default() -> Self {
        Self { failed: FxHashMap::default(), order: VecDeque::new(), asked: Recent::new(BOUND) }
    }
}

/// What was asked of which resolver, or by which one.
fn question(dns: &Dns) -> u64 {
    let Dns { cgroup, netns, name, query_type, .. } = dns;
    FxBuildHasher.hash_one((cgroup, netns, name, query_type))
}

/// A container may ask the resolver in itself.
fn is_of_itself(dns: &Dns) -> bool {
    dns.remote.ip().is_loopback() || dns.remote.ip() == dns.local.ip()
}

impl Received {
    /// Adds a query by its key; whether another one had to be forgotten for it.
    pub(super) fn add(&mut self, key: u64, dns: Dns) -> bool {
        let question = question(&dns);
        let (mut first, mut last) = (dns.start_ns, dns.end_ns);
        if let Some((from, until)) = self.asked.get(&question)
            && first <= until.saturating_add(PASSED_ON_NS)
        {
            (first, last) = (first.min(*from), last.max(*until));
        }
        self.asked.insert(question, (first, last));
        if dns.rcode == Some(3) || self.failed.insert(key, dns).is_some() {
            return false;
        }
        self.order.push_back(key);
        let full = self.order.len() > BOUND;
        if full {
            self.forget_oldest();
        }
        full
    }

    fn forget_oldest(&mut self) {
        if let Some(key) = self.order.pop_front() {
            self.failed.remove(&key);
        }
    }

    pub(super) fn expire(&mut self, limit: Ktime) {
        let oldest = |of: &Self| of.failed.get(of.order.front()?).map(|dns| dns.end_ns);
        while oldest(self).is_some_and(|end| end < limit) {
            self.forget_oldest();
        }
        self.asked.retain(|_, (_, last)| *last >= limit);
    }

    /// A query of that lookup which wasn't answered, or by a failure.
    pub(super) fn of(&self, lookup: &Lookup) -> Option<&Dns> {
        let mut newest_first = self.order.iter().rev().filter_map(|key| self.failed.get(key));
        newest_first.find(|dns| lookup.clients.contains(&dns.remote))
    }

    /// Whether who asks this was asked it.
    pub(super) fn is_passed_on(&self, dns: &Dns) -> bool {
        let asked = self.asked.get(&question(dns)).filter(|_| !is_of_itself(dns));
        asked.is_some_and(|(from, until)| (*from..=until.saturating_add(PASSED_ON_NS)).contains(&dns.start_ns))
    }
}
