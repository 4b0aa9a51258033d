//! Failures that a later success to the same place made up for.

use std::net::SocketAddr;

use super::{Correlator, call::Call, identity::service_name};
use crate::event::{ConnId, Exchange, Ktime, Role};

/// Exchanges of a container that are looked at for a retry.
const RETRIES: usize = 1024;

impl Correlator {
    /// Whether a later success to the same place, up to `until`, made up for the failure.
    pub(crate) fn healed(&self, call: &Call, until: Ktime) -> bool {
        let container = self.identity.container_key(call.cgroup());
        let min = self.min_status_of(call.cgroup());
        let after = call.end();
        let well = |x: &&Exchange| {
            x.start_ns >= after && x.end_ns <= until && !x.failed(min) && self.same_place(call, x.remote)
        };
        let mut answered = self.window.outbound(container).take(RETRIES).filter(well);
        match call {
            Call::Exchange(failed) => answered.any(|x| same_request(x, failed)),
            Call::Connect(_) | Call::Attempt(..) | Call::End(..) => {
                answered.next().is_some() || self.connected_later(container, call, until)
            }
            // Another thread of the same process may have asked for the other address family, or the next search domain.
            Call::Lookup(failed) => {
                self.window.lookups.resolved(failed, until, |actor| actor.tgid == failed.actor.tgid)
            }
        }
    }

    /// Whether the same container reached the same place after a connection that failed: with a request that is still open,
    /// or by a connection that carries something else than HTTP and hasn't failed in its turn.
    fn connected_later(&self, container: u64, call: &Call, until: Ktime) -> bool {
        let later = call.end()..=until;
        let open = self.window.open.iter().filter(|x| x.role == Role::Client);
        let mut open = open.filter(|x| self.identity.container_key(x.cgroup) == container);
        let broke = |conn: ConnId, since: Ktime| {
            let mut signals = self.window.signals.recent().take_while(|(at, _)| *at >= since);
            signals.any(|(_, signal)| signal.conn == Some(conn) && signal.is_broken_end())
        };
        let mut opaque = self.window.opaque.of(container).filter(|conn| later.contains(&conn.start_ns));
        open.any(|x| x.established_ns != 0 && later.contains(&x.established_ns) && self.same_place(call, x.remote))
            || opaque.any(|conn| self.same_place(call, conn.remote) && !broke(conn.conn, conn.start_ns))
    }

    /// Whether an address is the call's place to whoever made it: the same, of one Service, of one name that was looked up, or
    /// `localhost` in the other address family.
    fn same_place(&self, call: &Call, b: SocketAddr) -> bool {
        let a = call.remote();
        if a == b {
            return true;
        }
        let service = |address| self.target(address, None).service.map(service_name);
        if let Some(service_a) = service(a) {
            return service(b) == Some(service_a);
        }
        let name = |address: SocketAddr| self.identity.dns_name(Some(call.cgroup()), address.ip());
        let named = name(a).is_some() && name(a) == name(b);
        a.port() == b.port() && (named || (a.ip().is_loopback() && b.ip().is_loopback()))
    }
}

pub(super) fn same_request(a: &Exchange, b: &Exchange) -> bool {
    match (&a.request, &b.request) {
        (Some(a), Some(b)) => a.method == b.method && a.path == b.path,
        _ => true,
    }
}
