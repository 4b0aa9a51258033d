//! Which cgroup an event belongs to: its path is told before the event, and events outside the observed subtree are
//! left out.

use tracer_common::limits::CGROUP_PATH;

use crate::correlate::CGROUPS;
use crate::event::{Event, Ktime, Record};
use crate::host::cgroups::Cgroups;
use crate::recent::Recent;

/// Cgroups that were told. The core remembers as many at least ([`crate::correlate::CGROUPS`]), so who is forgotten there
/// is told again.
const TOLD: usize = CGROUPS / 2;

/// Cgroup ids, paths, and who was told.
pub(super) struct Naming {
    cgroups: Cgroups,
    told: Recent<u64>,
    /// Path of the observed subtree; none for the whole node.
    scope: Option<String>,
    own_tgid: u32,
}

impl Naming {
    pub(super) fn new(cgroups: Cgroups, scope: Option<String>, own_tgid: u32) -> Self {
        Self { cgroups, told: Recent::new(TOLD), scope, own_tgid }
    }

    /// A directory was made or removed.
    pub(super) fn changed(&mut self, id: u64, path: &str, removed: bool) {
        if removed {
            self.cgroups.removed(id);
        } else if path.len() < CGROUP_PATH - 1 {
            // A longer path was cut: walking the tree finds it.
            self.cgroups.made(id, path);
        }
    }

    /// Whether the core should hear of it at all.
    pub(super) fn wants(&mut self, event: &Event) -> bool {
        if is_by(event, self.own_tgid) {
            return false;
        }
        match (event.cgroup(), &self.scope) {
            // Told apart by their addresses.
            (None, _) => true,
            (Some(id), None) => self.cgroups.may_hold(id),
            (Some(id), Some(scope)) => self.cgroups.path(id).is_some_and(|path| is_below(path, scope)),
        }
    }

    /// The path of the event's cgroup, the first time that it is named.
    pub(super) fn introduce(&mut self, record: &Record) -> Option<Record> {
        self.introduce_cgroup(record.event.named_cgroup()?, record.at)
    }

    /// The path of a cgroup, the first time that it is named.
    pub(super) fn introduce_cgroup(&mut self, id: u64, at: Ktime) -> Option<Record> {
        if self.told.touch(&id).is_some() {
            return None;
        }
        let path = self.cgroups.path(id)?.to_owned();
        self.told.insert(id, ());
        Some(Record { at, event: Event::Cgroup { id, path } })
    }

    /// Whether the core has still to be told of a cgroup; it will be.
    pub(super) fn tells(&mut self, id: u64) -> bool {
        let known = self.told.touch(&id).is_some();
        if !known {
            self.told.insert(id, ());
        }
        !known
    }

    /// The path of the cgroup that an event belongs to.
    pub(super) fn path_of(&mut self, event: &Event) -> Option<&str> {
        event.cgroup().and_then(|id| self.cgroups.path(id))
    }

    /// A path that is known already.
    pub(super) fn path(&mut self, id: u64) -> Option<&str> {
        self.cgroups.path(id)
    }

    /// Whether a path lies in what is observed.
    pub(super) fn observes(&self, path: Option<&str>) -> bool {
        self.scope.as_ref().is_none_or(|scope| path.is_some_and(|path| is_below(path, scope)))
    }
}

fn is_below(path: &str, scope: &str) -> bool {
    path.strip_prefix(scope.trim_end_matches('/')).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether this process did it.
fn is_by(event: &Event, tgid: u32) -> bool {
    let by = match event {
        Event::Exchange(exchange) => exchange.actor.or(exchange.connector).map_or(0, |actor| actor.tgid),
        Event::Connect(connect) => connect.actor.tgid,
        Event::ConnectAttempt(attempt) => attempt.actor.tgid,
        Event::OpaqueConnection(conn) => conn.connector.map_or(0, |actor| actor.tgid),
        Event::Signal(signal) => signal.actor.tgid,
        Event::Dns(dns) => dns.actor.tgid,
        Event::Process(process) => process.tgid,
        // The process in whose context a packet is dropped is often any process: never filtered by it.
        Event::UnansweredSyn(_)
        | Event::Drop(_)
        | Event::Icmp(_)
        | Event::Cgroup { .. }
        | Event::Host(_)
        | Event::Lost { .. }
        | Event::Opaque { .. }
        | Event::Cluster { .. }
        | Event::Watch { .. }
        | Event::Joined { .. }
        | Event::Tick => 0,
    };
    by != 0 && by == tgid
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cgroups::Mount;

    #[test]
    fn who_was_not_heard_of_for_long_is_told_again() {
        let nothing = Mount { path: "/nonexistent".into(), is_root: true };
        let mut naming = Naming::new(Cgroups::read(nothing), None, 1);
        assert!(naming.tells(1) && naming.tells(2));
        for id in 3..100_000 {
            assert!(naming.tells(id) && !naming.tells(1));
        }
        assert!(naming.tells(2) && naming.told.len() <= CGROUPS);
    }

    #[test]
    fn below() {
        assert!(is_below("/a/b", "/a") && is_below("/a", "/a") && is_below("/a", "/"));
        assert!(!is_below("/ab", "/a") && !is_below("/", "/a"));
    }
}
