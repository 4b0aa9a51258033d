//! What happened lately, bounded, with the look-ups that the correlation needs.

use std::{collections::VecDeque, net::SocketAddr};

use rustc_hash::FxHashMap;

use super::{lookup::Lookups, nodes::node_of, opaque::OpaqueConnections, probe::Attempt};
use crate::event::{
    Connect, ConnectAttempt, Drop, Exchange, Icmp, Ktime, Outcome, Process, Role, Signal, SignalKind, UnansweredSyn,
};

/// How long events are kept: longer than any proxy's timeout that is worth explaining.
pub(crate) const KEEP_NS: u64 = 120_000_000_000;
pub(crate) const EXCHANGES: usize = 120_000;
const OTHERS: usize = 20_000;
/// Exchanges of a container looked at for what was open beside one.
pub(crate) const RECENT: usize = 1024;
/// Exchanges that are searched for earlier ones of a connection.
const EARLIER: usize = 4096;

/// Number of a stored event, never reused.
pub(crate) type Id = u64;

/// A queue with stable numbers.
#[derive(Debug)]
pub(crate) struct Log<T> {
    first: Id,
    items: VecDeque<T>,
    bound: usize,
    /// Forgotten because the bound was reached, not because of age.
    pub(crate) overflowed: u64,
}

impl<T> Log<T> {
    fn new(bound: usize) -> Self {
        Self { first: 0, items: VecDeque::new(), bound, overflowed: 0 }
    }

    pub(crate) fn push(&mut self, item: T) -> (Id, Option<(Id, T)>) {
        let mut gone = None;
        if self.items.len() >= self.bound {
            self.overflowed += 1;
            gone = self.items.pop_front().map(|old| (self.first, old));
            self.first += 1;
        }
        self.items.push_back(item);
        (self.first + self.items.len() as u64 - 1, gone)
    }

    pub(crate) fn get(&self, id: Id) -> Option<&T> {
        self.items.get(usize::try_from(id.checked_sub(self.first)?).ok()?)
    }

    fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        self.items.get_mut(usize::try_from(id.checked_sub(self.first)?).ok()?)
    }

    /// The newest first.
    pub(crate) fn recent(&self) -> impl Iterator<Item = &T> {
        self.items.iter().rev()
    }

    fn pop_older(&mut self, limit: Ktime, at: impl Fn(&T) -> Ktime) -> Option<(Id, T)> {
        if self.items.front().is_some_and(|item| at(item) < limit) {
            let id = self.first;
            self.first += 1;
            return self.items.pop_front().map(|item| (id, item));
        }
        None
    }
}

/// The exchanges of one container, by number.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    pub(crate) inbound: VecDeque<Id>,
    pub(crate) outbound: VecDeque<Id>,
}

/// Exchanges that begin alike.
#[derive(Debug, Default)]
struct Alike {
    /// The last of each role.
    ids: [Option<Id>; 2],
    /// There were several.
    several: [bool; 2],
}

/// The sliding window.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) exchanges: Log<Exchange>,
    hops: FxHashMap<(SocketAddr, u32), [Option<Id>; 2]>,
    /// By [`Exchange::head_key`].
    heads: FxHashMap<(u32, u32, u64), Alike>,
    activity: FxHashMap<u64, Activity>,
    /// Requests and connects that were open at the last look.
    pub(crate) open: Vec<Exchange>,
    pub(crate) open_connects: Vec<Connect>,
    /// When each node was last looked at.
    open_at: FxHashMap<usize, Ktime>,
    pub(crate) connects: Log<Connect>,
    pub(crate) attempts: Log<(Ktime, ConnectAttempt)>,
    pub(crate) drops: Log<(Ktime, Drop)>,
    pub(crate) icmps: Log<(Ktime, Icmp)>,
    pub(crate) syns: Log<(Ktime, UnansweredSyn)>,
    pub(crate) opaque: OpaqueConnections,
    pub(crate) signals: Log<(Ktime, Signal)>,
    pub(crate) processes: Log<(Ktime, Process)>,
    /// What the kubelet asked of pods.
    pub(crate) probes: Log<Attempt>,
    pub(crate) lookups: Lookups,
    /// Up to when exchanges were forgotten for want of room.
    pub(crate) forgotten_until: Option<Ktime>,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            exchanges: Log::new(EXCHANGES),
            hops: FxHashMap::default(),
            heads: FxHashMap::default(),
            activity: FxHashMap::default(),
            open: Vec::new(),
            open_connects: Vec::new(),
            open_at: FxHashMap::default(),
            connects: Log::new(OTHERS),
            attempts: Log::new(OTHERS),
            drops: Log::new(OTHERS),
            icmps: Log::new(OTHERS),
            syns: Log::new(OTHERS),
            opaque: OpaqueConnections::default(),
            signals: Log::new(OTHERS),
            processes: Log::new(OTHERS),
            probes: Log::new(OTHERS),
            lookups: Lookups::default(),
            forgotten_until: None,
        }
    }
}

fn side(role: Role) -> usize {
    match role {
        Role::Client => 0,
        Role::Server => 1,
    }
}

impl Window {
    /// Stores an exchange under its container.
    pub(crate) fn exchange(&mut self, container: u64, exchange: Exchange) -> Id {
        let key = exchange.hop_key();
        let role = exchange.role;
        if let Some(id) = self.told_twice(&exchange) {
            return id;
        }
        let (head, conn) = (exchange.head_key(), exchange.conn);
        let (id, gone) = self.exchanges.push(exchange);
        if let Some((old, exchange)) = gone {
            self.forgotten_until = self.forgotten_until.max(Some(exchange.end_ns));
            self.forget(old, &exchange);
        }
        self.hops.entry(key).or_default()[side(role)] = Some(id);
        if let Some(head) = head {
            let alike = self.heads.entry(head).or_default();
            let known = alike.ids[side(role)].replace(id).and_then(|known| self.exchanges.get(known));
            alike.several[side(role)] |= known.is_some_and(|known| known.conn != conn);
        }
        let activity = self.activity.entry(container).or_default();
        match role {
            Role::Client => activity.outbound.push_back(id),
            Role::Server => activity.inbound.push_back(id),
        }
        id
    }

    /// An answer that breaks off is told when it began, as any, and at its end: that counts.
    fn told_twice(&mut self, exchange: &Exchange) -> Option<Id> {
        let ids = self.hops.get(&exchange.hop_key())?;
        let id = ids[side(exchange.role)]?;
        let known = self.exchanges.get_mut(id)?;
        let same = known.conn == exchange.conn && known.number == exchange.number;
        if !same || (known.cut.is_none() && exchange.cut.is_none()) {
            return None;
        }
        if exchange.cut.is_some() {
            known.clone_from(exchange);
        }
        Some(id)
    }

    fn forget(&mut self, id: Id, exchange: &Exchange) {
        let key = exchange.hop_key();
        if let Some(ends) = self.hops.get_mut(&key) {
            let end = &mut ends[side(exchange.role)];
            if *end == Some(id) {
                *end = None;
            }
            if ends.iter().all(Option::is_none) {
                self.hops.remove(&key);
            }
        }
        if let Some(head) = exchange.head_key()
            && let Some(alike) = self.heads.get_mut(&head)
        {
            let end = &mut alike.ids[side(exchange.role)];
            *end = end.filter(|known| *known != id);
            if alike.ids.iter().all(Option::is_none) {
                self.heads.remove(&head);
            }
        }
    }

    /// Lets go of what is too old.
    pub(crate) fn expire(&mut self, now: Ktime) {
        let limit = now.saturating_sub(KEEP_NS);
        while let Some((id, exchange)) = self.exchanges.pop_older(limit, |x| x.end_ns) {
            self.forget(id, &exchange);
        }
        let first = self.exchanges.first;
        self.activity.retain(|_, activity| {
            for queue in [&mut activity.inbound, &mut activity.outbound] {
                while queue.front().is_some_and(|id| *id < first) {
                    queue.pop_front();
                }
            }
            !activity.inbound.is_empty() || !activity.outbound.is_empty()
        });
        while self.connects.pop_older(limit, |x| x.end_ns).is_some() {}
        while self.attempts.pop_older(limit, |x| x.0).is_some() {}
        while self.drops.pop_older(limit, |x| x.0).is_some() {}
        while self.icmps.pop_older(limit, |x| x.0).is_some() {}
        while self.syns.pop_older(limit, |x| x.0).is_some() {}
        self.opaque.expire(limit);
        while self.signals.pop_older(limit, |x| x.0).is_some() {}
        while self.probes.pop_older(limit, |x| x.at).is_some() {}
        while self.processes.pop_older(limit, |x| x.0).is_some() {}
        self.lookups.expire(limit);
    }

    /// Events that left for want of room, by kind.
    pub(crate) fn overflowed(&self) -> [(&'static str, u64); 9] {
        [
            ("exchanges", self.exchanges.overflowed),
            ("connects", self.connects.overflowed),
            ("connect_attempts", self.attempts.overflowed),
            ("drops", self.drops.overflowed + self.icmps.overflowed),
            ("syns", self.syns.overflowed),
            ("signals", self.signals.overflowed),
            ("deaths", self.processes.overflowed),
            ("probes", self.probes.overflowed),
            ("lookups", self.lookups.overflowed),
        ]
    }

    /// The other end of a hop, ended or open.
    pub(crate) fn other_end(&self, exchange: &Exchange) -> Option<&Exchange> {
        let wanted = match exchange.role {
            Role::Client => Role::Server,
            Role::Server => Role::Client,
        };
        let key = exchange.hop_key();
        let ended = self.hops.get(&key).and_then(|ends| ends[side(wanted)]).and_then(|id| self.exchanges.get(id));
        ended
            .or_else(|| self.open.iter().find(|x| x.role == wanted && x.hop_key() == key))
            .or_else(|| self.masqueraded(exchange, wanted))
    }

    /// Under masquerade the client's address changes on the way: sequence, acknowledgement number and request line decide.
    fn masqueraded(&self, exchange: &Exchange, wanted: Role) -> Option<&Exchange> {
        let key = exchange.head_key()?;
        let side = side(wanted);
        let alike = self.heads.get(&key);
        if alike.is_some_and(|alike| alike.several[side]) {
            return None;
        }
        let ended = alike.and_then(|alike| alike.ids[side]).and_then(|id| self.exchanges.get(id));
        let open = self.open.iter().filter(|x| x.role == wanted && x.head_key() == Some(key) && !self.has_ended(x));
        let mut found = ended.into_iter().chain(open);
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }

    /// What a container received and answered, or left unanswered, within the window, the newest first.
    pub(crate) fn inbound(&self, container: u64) -> impl Iterator<Item = &Exchange> {
        let ids = self.activity.get(&container).map(|a| &a.inbound);
        ids.into_iter().flat_map(|ids| ids.iter().rev()).filter_map(|id| self.exchanges.get(*id))
    }

    /// What a container called, the newest first.
    pub(crate) fn outbound(&self, container: u64) -> impl Iterator<Item = &Exchange> {
        let ids = self.activity.get(&container).map(|a| &a.outbound);
        ids.into_iter().flat_map(|ids| ids.iter().rev()).filter_map(|id| self.exchanges.get(*id))
    }

    /// Earlier exchanges of the same end of a connection, the newest first.
    pub(crate) fn earlier<'a>(&'a self, exchange: &'a Exchange) -> impl Iterator<Item = &'a Exchange> {
        let same = |x: &&Exchange| x.conn == exchange.conn && x.number < exchange.number;
        self.exchanges.recent().take(if exchange.number == 0 { 0 } else { EARLIER }).filter(same)
    }

    /// Replaces the look at what is open; what has ended since is left out by the caller's events.
    pub(crate) fn look(&mut self, node: usize, at: Ktime) {
        if self.open_at.insert(node, at) != Some(at) {
            self.open.retain(|x| node_of(x.cgroup) != node);
            self.open_connects.retain(|x| node_of(x.cgroup) != node);
        }
    }

    /// Whether the exchange has ended meanwhile.
    pub(crate) fn has_ended(&self, exchange: &Exchange) -> bool {
        self.hops
            .get(&exchange.hop_key())
            .and_then(|ends| ends[side(exchange.role)])
            .and_then(|id| self.exchanges.get(id))
            .is_some_and(|x| x.outcome != Outcome::Open)
    }

    /// Drops of a flow's packets, in either direction, since `from`.
    pub(crate) fn drops_of(
        &self,
        client: SocketAddr,
        is_server: impl Fn(SocketAddr) -> bool,
        from: Ktime,
        to: Ktime,
    ) -> Vec<&(Ktime, Drop)> {
        let mut found: Vec<_> = self
            .drops
            .recent()
            .take_while(|(at, _)| *at >= from)
            .filter(|(at, drop)| {
                *at <= to
                    && ((drop.source == client
                        && (is_server(drop.destination) || drop.original_destination.is_some_and(&is_server)))
                        || (drop.destination == client && is_server(drop.source)))
            })
            .collect();
        found.reverse();
        found
    }

    /// ICMP errors about a flow's packets.
    pub(crate) fn icmps_of(&self, client: SocketAddr, from: Ktime, to: Ktime) -> Option<&(Ktime, Icmp)> {
        self.icmps.recent().take_while(|(at, _)| *at >= from).find(|(at, icmp)| *at <= to && icmp.source == client)
    }

    /// A client's SYN that a listener here ignored. Told by the sweep, so after it happened.
    pub(crate) fn syn_of(&self, client: SocketAddr, from: Ktime, to: Ktime) -> Option<&(Ktime, UnansweredSyn)> {
        let mut told_since = self.syns.recent().take_while(|(at, _)| *at >= from);
        told_since.find(|(_, syn)| syn.remote == client && syn.start_ns >= from && syn.start_ns <= to)
    }

    /// Resets that this kernel sent to a client's segment because no socket wanted it.
    pub(crate) fn refusal_of(&self, client: SocketAddr, from: Ktime, to: Ktime) -> Option<&(Ktime, Signal)> {
        self.signals.recent().take_while(|(at, _)| *at >= from).find(|(at, signal)| {
            *at <= to && signal.signal == SignalKind::TcpSendReset && signal.no_socket && signal.remote == client
        })
    }

    /// Processes that died in the interval, the newest first.
    pub(crate) fn deaths(&self, from: Ktime, to: Ktime) -> impl Iterator<Item = &(Ktime, Process)> {
        self.processes.recent().filter(move |(at, _)| *at >= from && *at <= to)
    }

    /// Failed connects since `from`, the newest first.
    pub(crate) fn failed_connects(&self, from: Ktime) -> impl Iterator<Item = &Connect> {
        self.connects.recent().take_while(move |c| c.end_ns >= from)
    }
}
