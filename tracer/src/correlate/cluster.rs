//! What the watch of the API server tells: changes of the cluster's state, and how true that state is.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use rustc_hash::FxHashMap;

use super::{Correlator, Want};
use crate::{
    event::{Ktime, WatchState},
    k8s::snapshot::{Change, Collection, ObjectRef},
};

/// Addresses asked for at a time, and when the same is asked for again.
const ASKED: usize = 10_000;
const AGAIN_NS: Ktime = 30_000_000_000;

/// A kind's state, and since when.
#[derive(Debug)]
struct Watched {
    state: WatchState,
    since: Ktime,
    /// It was known once.
    seen: bool,
}

/// How the watches fare, by resource.
#[derive(Debug, Default)]
pub(super) struct Watches {
    by_resource: BTreeMap<String, Watched>,
    /// Only some pods are watched.
    on_demand: bool,
    /// Addresses whose pods were asked for, with when.
    asked: FxHashMap<IpAddr, Ktime>,
}

impl Watches {
    pub(super) fn note(&mut self, at: Ktime, resource: String, state: WatchState) {
        self.on_demand |= state == WatchState::OfNode;
        let before = self.by_resource.remove(&resource);
        let current =
            |state: &WatchState| matches!(state, WatchState::Current | WatchState::OfNode | WatchState::Partial { .. });
        let seen = current(&state) || before.as_ref().is_some_and(|before| before.seen);
        // However the reasons differ: it has been out of date since the first.
        let since = before
            .filter(|before| matches!((&before.state, &state), (WatchState::Stale { .. }, WatchState::Stale { .. })))
            .map_or(at, |before| before.since);
        self.by_resource.insert(resource, Watched { state, since, seen });
    }

    /// Resources that couldn't be read, or not all of them.
    pub(super) fn unread(&self) -> Vec<&str> {
        let unread = self.by_resource.iter().filter(|(_, watched)| match watched.state {
            WatchState::Current | WatchState::OfNode => false,
            WatchState::Stale { .. } => !watched.seen,
            WatchState::Forbidden | WatchState::Absent | WatchState::Partial { .. } => true,
        });
        unread.map(|(resource, _)| resource.as_str()).collect()
    }

    /// What of the cluster isn't known, or not as of now, as sentences.
    pub(super) fn notes(&self, now: Ktime) -> Vec<String> {
        let mut stale: BTreeMap<(bool, Ktime, &str), Vec<&str>> = BTreeMap::new();
        let (mut forbidden, mut absent, mut notes) = (Vec::new(), Vec::new(), Vec::new());
        for (resource, watched) in &self.by_resource {
            match &watched.state {
                WatchState::Current | WatchState::OfNode => {}
                WatchState::Stale { reason } => {
                    let age = now.saturating_sub(watched.since) / 1_000_000_000;
                    stale.entry((watched.seen, age, reason)).or_default().push(resource);
                }
                WatchState::Forbidden => forbidden.push(resource.as_str()),
                WatchState::Absent => absent.push(resource.as_str()),
                WatchState::Partial { most } => notes.push(format!("of {resource} only {most} are kept")),
            }
        }
        for ((seen, age, reason), resources) in stale {
            let what = resources.join(", ");
            notes.push(if seen {
                format!("the API server doesn't answer ({reason}): what is known is {age} s old, of {what}")
            } else {
                format!("the API server hasn't answered for {age} s ({reason}): nothing is known of {what}")
            });
        }
        if !forbidden.is_empty() {
            notes.push(format!("not allowed to read {} (deploy/ has the role)", forbidden.join(", ")));
        }
        if !absent.is_empty() {
            notes.push(format!("not in this cluster: {}", absent.join(", ")));
        }
        notes
    }
}

impl Correlator {
    /// Asks for the pod that has the address, if only some are watched and it is unknown.
    pub(super) fn ask_pod(&mut self, address: SocketAddr) {
        let ip = address.ip();
        let Watches { on_demand, asked, .. } = &mut self.watches;
        if !*on_demand || ip.is_loopback() || asked.len() >= ASKED || self.snapshot.owner_of(ip).is_some() {
            return;
        }
        if asked.insert(ip, self.now).is_none() {
            self.wants.push(Want::Pod { address: ip });
        }
    }

    /// What was asked for long ago may be asked for again.
    pub(super) fn forget_asked(&mut self) {
        let limit = self.now.saturating_sub(AGAIN_NS);
        self.watches.asked.retain(|_, at| *at >= limit);
    }

    pub(super) fn change_cluster(&mut self, at: Ktime, changes: Vec<Change>) {
        for change in changes {
            // The history ends, but what a pod was called belongs to the summary.
            if let Change::Remove(ObjectRef { collection: Collection::Pods, key: [namespace, name, uid] }) = &change {
                self.identity.remember_pod(uid, namespace, name);
            }
            self.snapshot.apply(at, change);
        }
    }

    /// How true the cluster's state is.
    pub fn watch_notes(&self) -> Vec<String> {
        let mut notes = self.watches.notes(self.now);
        let forgotten = self.snapshot.forgotten();
        if forgotten > 0 {
            notes.push(format!("{forgotten} changes of the cluster were too many to remember how it was before"));
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Ktime = 1_000_000_000;

    #[test]
    fn notes_say_how_old_and_what_is_missing() {
        let mut watches = Watches::default();
        let stale = |reason: &str| WatchState::Stale { reason: reason.to_owned() };
        for resource in ["pods", "nodes"] {
            watches.note(SECOND, resource.to_owned(), WatchState::Current);
            watches.note(2 * SECOND, resource.to_owned(), stale("refused"));
            watches.note(5 * SECOND, resource.to_owned(), stale("timed out"));
        }
        watches.note(2 * SECOND, "services".to_owned(), stale("timed out"));
        watches.note(SECOND, "events".to_owned(), WatchState::Forbidden);
        watches.note(SECOND, "ingresses.networking.k8s.io".to_owned(), WatchState::Absent);
        assert_eq!(
            watches.notes(12 * SECOND),
            [
                "the API server hasn't answered for 10 s (timed out): nothing is known of services",
                "the API server doesn't answer (timed out): what is known is 10 s old, of nodes, pods",
                "not allowed to read events (deploy/ has the role)",
                "not in this cluster: ingresses.networking.k8s.io",
            ]
        );
        watches.note(13 * SECOND, "pods".to_owned(), WatchState::Current);
        assert!(!watches.notes(14 * SECOND).iter().any(|note| note.contains("pods")));
    }
}
