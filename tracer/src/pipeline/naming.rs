//! Which cgroup an event belongs to: its path is told before the event, and events outside the observed subtree are
//! left out.

use rustc_hash::FxHashSet;
use tracer_common::limits::CGROUP_PATH;

use crate::event::{Event, Record, SignalKind};
use crate::host::cgroups::Cgroups;

/// Cgroup ids, paths, and who was told.
pub(super) struct Naming {
    cgroups: Cgroups,
    told: FxHashSet<u64>,
    /// Path of the observed subtree; none for the whole node.
    scope: Option<String>,
    own_tgid: u32,
}

impl Naming {
    pub(super) fn new(cgroups: Cgroups, scope: Option<String>, own_tgid: u32) -> Self {
        Self { cgroups, told: FxHashSet::default(), scope, own_tgid }
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
        let Some(scope) = &self.scope else { return true };
        match cgroup_of(event) {
            // Told apart by their addresses.
            None => true,
            Some(id) => self.cgroups.path(id).is_some_and(|path| is_below(path, scope)),
        }
    }

    /// The path of the event's cgroup, the first time that it is named.
    pub(super) fn introduce(&mut self, record: &Record) -> Option<Record> {
        let id = match &record.event {
            Event::Drop(drop) => drop.cgroup,
            event => cgroup_of(event)?,
        };
        if id == 0 || self.told.contains(&id) {
            return None;
        }
        let path = self.cgroups.path(id)?.to_owned();
        self.told.insert(id);
        Some(Record { at: record.at, event: Event::Cgroup { id, path } })
    }

    /// The path of the cgroup that an event belongs to.
    pub(super) fn path_of(&mut self, event: &Event) -> Option<&str> {
        cgroup_of(event).and_then(|id| self.cgroups.path(id))
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

/// The cgroup that an event belongs to, where it belongs to one.
fn cgroup_of(event: &Event) -> Option<u64> {
    let id = match event {
        Event::Exchange(exchange) => exchange.cgroup,
        Event::Connect(connect) => connect.cgroup,
        Event::ConnectAttempt(attempt) => attempt.cgroup,
        Event::UnansweredSyn(syn) => syn.cgroup,
        Event::OpaqueConnection(conn) => conn.cgroup,
        // An RST that answers a segment for no socket is nobody's.
        Event::Signal(signal) if signal.no_socket && signal.signal == SignalKind::TcpSendReset => 0,
        Event::Signal(signal) => signal.cgroup,
        // Where a packet died is not where it belongs: its sender's cgroup or its receiver's may be known, or neither.
        Event::Drop(_) | Event::Icmp(_) => 0,
        Event::Dns(dns) => dns.cgroup,
        Event::Process(process) => process.cgroup,
        Event::Cgroup { .. }
        | Event::Host(_)
        | Event::Lost { .. }
        | Event::Opaque { .. }
        | Event::Cluster { .. }
        | Event::Watch { .. }
        | Event::Joined { .. }
        | Event::Tick => 0,
    };
    (id != 0).then_some(id)
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

    #[test]
    fn below() {
        assert!(is_below("/a/b", "/a") && is_below("/a", "/a") && is_below("/a", "/"));
        assert!(!is_below("/ab", "/a") && !is_below("/", "/a"));
    }
}
