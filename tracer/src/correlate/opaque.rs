//! Connections of clients whose payload can't be read: TLS, HTTP/2, databases. All that is known of a call on one of them is
//! that it may have happened.

use std::net::SocketAddr;

use rustc_hash::FxHashMap;

use crate::event::{ConnId, Ktime, OpaqueConnection};

/// Connections that are kept of a container.
const CONNECTIONS: usize = 1024;
/// Remote ends of one request's calls that are listed.
const LISTED: usize = 4;
/// Places that are known to answer.
const PLACES: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct OpaqueConnections {
    containers: FxHashMap<u64, Container>,
    /// Places that sent payload to whomever, and until when that is known.
    answering: FxHashMap<SocketAddr, Ktime>,
}

#[derive(Debug, Default)]
struct Container {
    connections: FxHashMap<ConnId, OpaqueConnection>,
    /// When one that isn't kept was last used.
    left_out_ns: Ktime,
}

impl OpaqueConnections {
    /// Notes that a container used a connection.
    pub(crate) fn add(&mut self, container: u64, conn: OpaqueConnection) {
        if conn.answered && (self.answering.len() < PLACES || self.answering.contains_key(&conn.remote)) {
            self.answering.insert(conn.remote, conn.last_ns);
        }
        let of = self.containers.entry(container).or_default();
        if of.connections.len() >= CONNECTIONS && !of.connections.contains_key(&conn.conn) {
            of.left_out_ns = of.left_out_ns.max(conn.last_ns);
            return;
        }
        of.connections.insert(conn.conn, conn);
    }

    pub(crate) fn expire(&mut self, limit: Ktime) {
        self.answering.retain(|_, last_ns| *last_ns >= limit);
        self.containers.retain(|_, of| {
            of.connections.retain(|_, conn| conn.last_ns >= limit);
            !of.connections.is_empty()
        });
    }

    /// The connections of a container.
    pub(crate) fn of(&self, container: u64) -> impl Iterator<Item = &OpaqueConnection> {
        self.containers.get(&container).into_iter().flat_map(|of| of.connections.values())
    }

    /// Where the connections led on which a container may have called within an interval; `None` if there are none. Their use
    /// is only known up to the last time, so one used later may have been used then, too.
    pub(crate) fn used(&self, container: u64, from: Ktime, until: Ktime) -> Option<Vec<SocketAddr>> {
        let of = self.containers.get(&container)?;
        let used = of.connections.values().filter(|conn| conn.start_ns <= until && conn.last_ns >= from);
        let mut remotes: Vec<SocketAddr> = used.map(|conn| conn.remote).collect();
        if remotes.is_empty() && of.left_out_ns < from {
            return None;
        }
        remotes.sort_unstable();
        remotes.dedup();
        remotes.truncate(LISTED);
        Some(remotes)
    }

    /// Whether others had payload from there lately.
    pub(super) fn answers(&self, remote: SocketAddr) -> bool {
        self.answering.contains_key(&remote)
    }

    /// When a connection was last used.
    pub(super) fn last_used(&self, container: u64, conn: ConnId) -> Option<Ktime> {
        self.containers.get(&container)?.connections.get(&conn).map(|conn| conn.last_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conn(sock: u64, start_ns: Ktime, last_ns: Ktime) -> OpaqueConnection {
        let address: SocketAddr = "10.0.0.1:443".parse().unwrap();
        OpaqueConnection {
            conn: ConnId { sock, born_ns: start_ns },
            cgroup: 1,
            netns: 1,
            local: address,
            remote: address,
            connector: None,
            tls: true,
            start_ns,
            last_ns,
            answered: false,
        }
    }

    #[test]
    fn a_connection_counts_where_its_use_may_fall_into_the_request() {
        let mut opaque = OpaqueConnections::default();
        opaque.add(7, conn(1, 100, 200));
        let remotes = Some(vec!["10.0.0.1:443".parse().unwrap()]);
        assert_eq!(opaque.used(7, 150, 300), remotes, "used within");
        assert_eq!(opaque.used(7, 120, 150), remotes, "used later, and perhaps within");
        assert_eq!(opaque.used(7, 201, 300), None, "idle since");
        assert_eq!(opaque.used(7, 10, 99), None, "not yet there");
        assert_eq!(opaque.used(8, 150, 300), None, "another container's");
        opaque.expire(201);
        assert_eq!(opaque.used(7, 150, 300), None);
    }

    #[test]
    fn what_is_left_out_is_remembered_as_used() {
        let mut opaque = OpaqueConnections::default();
        for sock in 0..=CONNECTIONS as u64 {
            opaque.add(7, conn(sock, 1, 10 + sock));
        }
        let last = 10 + CONNECTIONS as u64;
        assert_eq!(opaque.used(7, last, last), Some(Vec::new()));
        assert_eq!(opaque.used(7, last + 1, last + 1), None);
    }
}
