//! Exchanges whose packets died on the way: the request never reached its server, or the answer never its caller.

use super::{
    Correlator,
    chain::{Leaf, LostLeaf, Target},
};
use crate::event::{Drop, Exchange, Ktime};

/// An answer that was sent so long before its caller gave up had the time to reach it.
pub(super) const UNDERWAY_NS: u64 = 50_000_000;
/// Something was sent again in vain.
const RETRANSMITS: u32 = 2;

impl Correlator {
    /// The same where the server has seen the request.
    pub(super) fn lost_between<'a>(&'a self, client: &Exchange, server: &Exchange, until: Ktime) -> Option<Leaf<'a>> {
        let target = self.target_of(Some(client.cgroup), client.remote, client.nat_remote);
        self.lost(client, Some(server), &target, until)
    }

    /// The end of a chain whose client had no answer, if that was lost on the way, or the request: the server answered in time, or
    /// a filter here dropped packets of the connection meanwhile.
    pub(super) fn lost<'a>(
        &'a self,
        client: &Exchange,
        server: Option<&Exchange>,
        target: &Target<'a>,
        until: Ktime,
    ) -> Option<Leaf<'a>> {
        if client.status().is_some() || client.reset_received || client.remote_closed_first {
            return None;
        }
        let until = if client.closing_ns > client.start_ns { until.min(client.closing_ns) } else { until };
        // Of a broken answer the server's end may know the beginning only.
        let answered = client.cut.is_none() && server.is_some_and(|s| s.status().is_some());
        if answered && server.is_some_and(|s| s.end_ns.saturating_add(UNDERWAY_NS) > until) {
            return None;
        }
        let mut servers = vec![client.remote];
        servers.extend(client.nat_remote);
        servers.extend(server.map(|s| s.local));
        let found = self.window.drops_of(client.local, |a| self.may_be(a, &servers, target), client.start_ns, until);
        let mut drops: Vec<(Ktime, Drop)> = found.into_iter().cloned().collect();
        drops.sort_by_key(|(_, drop)| !drop.by_netfilter());
        // Once the head has come, that a packet was lost may have held up the rest only for a moment.
        let filtered = drops.iter().filter(|(_, drop)| drop.by_netfilter()).count();
        let enough = if server.is_none() || client.retransmits >= RETRANSMITS { 1 } else { 2 };
        if !answered && filtered < enough {
            return None;
        }
        let drop_pod = drops.first().and_then(|(_, drop)| self.pod_of_netns(drop.netns));
        let conntrack = drops.first().and_then(|(_, drop)| self.identity.conntrack.get(&drop.netns).copied());
        // What saw the packet behind the translation tells the backend.
        let dropped = drops.iter().find(|(_, drop)| drop.source == client.local).map(|(_, drop)| drop.destination);
        let backend = server.map(|s| s.local).or(dropped).or(client.nat_remote);
        let target = match backend {
            Some(address) if address != client.remote => Target {
                service: target.service,
                name: target.name.clone(),
                ..self.target_of(Some(client.cgroup), client.remote, Some(address))
            },
            _ => target.clone(),
        };
        Some(Leaf::Lost(Box::new(LostLeaf {
            client: client.clone(),
            server: server.cloned(),
            caller_pod: self.identity.pod_of(&self.snapshot, client.cgroup),
            target,
            drops,
            drop_pod,
            conntrack,
        })))
    }
}
