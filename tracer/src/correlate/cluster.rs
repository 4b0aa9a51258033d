//! What the watch of the API server tells: changes of the cluster's state, and how true that state is.

use std::collections::BTreeMap;

use super::Correlator;
use crate::{
    event::{Ktime, WatchState},
    k8s::snapshot::Change,
};

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
}

impl Watches {
    pub(super) fn note(&mut self, at: Ktime, resource: String, state: WatchState) {
        let before = self.by_resource.remove(&resource);
        let current = |state: &WatchState| matches!(state, WatchState::Current | WatchState::Partial { .. });
        let seen = current(&state) || before.as_ref().is_some_and(|before| before.seen);
        // However the reasons differ: it has been out of date since the first.
        let since = before
            .filter(|before| matches!((&before.state, &state), (WatchState::Stale { .. }, WatchState::Stale { .. })))
            .map_or(at, |before| before.since);
        self.by_resource.insert(resource, Watched { state, since, seen });
    }

    /// What of the cluster isn't known, or not as of now, as sentences.
    pub(super) fn notes(&self, now: Ktime) -> Vec<String> {
        let mut stale: BTreeMap<(bool, Ktime, &str), Vec<&str>> = BTreeMap::new();
        let (mut forbidden, mut absent, mut notes) = (Vec::new(), Vec::new(), Vec::new());
        for (resource, watched) in &self.by_resource {
            match &watched.state {
                WatchState::Current => {}
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
    pub(super) fn change_cluster(&mut self, at: Ktime, changes: Vec<Change>) {
        for change in changes {
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
