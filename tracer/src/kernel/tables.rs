//! What the programs keep in maps, read by user space: counters, connections, captured heads, pending things.

use std::time::Duration;

use aya::Ebpf;
use rustc_hash::FxHashMap;
use tracer_common::Actor;
use tracer_common::conn::{
    Conn, DIRECT_HEAD, DirectConn, HeadKey, conn_flag, direct_head, direct_place, protocol, role,
};
use tracer_common::event::{ConnectAttempt, DnsKey, DnsPending, Heads, PendingConnect, PendingSyn, SynKey};
use tracer_common::stats::{Counter, CounterKey, DirectCounter, LOST, LOST_KINDS, Stat};
use zerocopy::FromZeros;

use super::map::{MapError, Table};
use super::mapping::Writable;

/// `TCP_SYN_SENT` (include/net/tcp_states.h).
const SYN_SENT: u32 = 2;

/// The maps.
pub struct Tables {
    pub(super) direct: Table<u32, DirectConn>,
    /// The same, in memory: a look goes through all of them.
    places: Writable<DirectConn>,
    pub(super) conn: Table<u64, Conn>,
    heads: Table<HeadKey, Heads>,
    direct_heads: Table<u32, Heads>,
    pub(super) dns: Table<DnsKey, DnsPending>,
    connects: Table<Actor, PendingConnect>,
    syns: Table<SynKey, PendingSyn>,
    stats: Table<u32, u64>,
    lost: Table<u32, u64>,
    counters: Table<CounterKey, Counter>,
    direct_counters: Table<u32, DirectCounter>,
}

impl Tables {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, MapError> {
        let direct: Table<u32, DirectConn> = Table::take(ebpf, "DIRECT_CONN")?;
        Ok(Self {
            places: direct.map_writable()?,
            direct,
            conn: Table::take(ebpf, "CONN")?,
            heads: Table::take(ebpf, "HEADS")?,
            direct_heads: Table::take(ebpf, "DIRECT_HEADS")?,
            dns: Table::take(ebpf, "DNS_PENDING")?,
            connects: Table::take(ebpf, "PENDING_CONNECT")?,
            syns: Table::take(ebpf, "PENDING_SYN")?,
            stats: Table::take(ebpf, "STATS")?,
            lost: Table::take(ebpf, "LOST")?,
            counters: Table::take(ebpf, "COUNTERS")?,
            direct_counters: Table::take(ebpf, "DIRECT_COUNTER")?,
        })
    }

    /// Another handle of the statistics: the flight recorder's positions are among them.
    pub(super) fn share_stats(&self) -> Result<Table<u32, u64>, MapError> {
        self.stats.share()
    }

    /// Losses and skips since the start, summed over CPUs, indexed by [`Stat`].
    ///
    /// # Errors
    /// Like every method here: where the kernel refuses to read the map.
    pub fn stats(&self) -> Result<[u64; Stat::COUNT], MapError> {
        let mut stats = [0; Stat::COUNT];
        for (index, stat) in stats.iter_mut().enumerate() {
            *stat = self.stats.get(&(index as u32))?.iter().sum();
        }
        Ok(stats)
    }

    /// Requests counted in the kernel since the start, summed over CPUs.
    pub fn counters(&self) -> Result<Vec<(CounterKey, Counter)>, MapError> {
        let mut sums: FxHashMap<CounterKey, Counter> = FxHashMap::default();
        let mut count = |key: &CounterKey, counter: &Counter| {
            add(sums.entry(*key).or_insert_with(Counter::new_zeroed), counter);
        };
        self.counters.for_each(&mut count)?;
        self.direct_counters.map()?.counters(count);
        Ok(sums.into_iter().collect())
    }

    /// One statistic.
    pub fn stat(&self, stat: Stat) -> Result<u64, MapError> {
        Ok(self.stats.get(&(stat as u32))?.iter().sum())
    }

    /// Forgets counts that haven't changed for long. A request at this very moment may go uncounted, or be counted with another key.
    pub fn forget_counters(&self, keys: &[CounterKey]) -> Result<(), MapError> {
        if keys.is_empty() {
            return Ok(());
        }
        self.direct_counters.map_writable()?.forget(keys);
        keys.iter().try_for_each(|key| self.counters.delete(key).map(drop))
    }

    /// What the rings lost: ring (0: failures, 1: events), kind of event, how many.
    pub fn lost(&self) -> Result<Vec<(u32, u32, u64)>, MapError> {
        let mut lost = Vec::new();
        for index in 0..LOST {
            let count = self.lost.get(&index)?.iter().sum();
            if count > 0 {
                lost.push((index / LOST_KINDS, index % LOST_KINDS, count));
            }
        }
        Ok(lost)
    }

    /// Connections on which something is unanswered, a request or the connect itself; and opaque ones used since then.
    pub fn open_connections(&self, since_ns: u64) -> Result<Vec<(u64, Conn)>, MapError> {
        self.connections(|conn| unanswered(conn) || (is_opaque(conn) && conn.last_ns.iter().any(|at| *at > since_ns)))
    }

    /// Connections that the test admits.
    pub fn connections(&self, is_wanted: impl Fn(&Conn) -> bool) -> Result<Vec<(u64, Conn)>, MapError> {
        let mut found = self.places.connections(&is_wanted);
        self.conn.for_each(|sock, conn| {
            if is_wanted(conn) {
                found.push((*sock, *conn));
            }
        })?;
        Ok(found)
    }

    /// Whose connections carry TLS now: cgroup, and the process where it connected.
    pub fn opaque(&self) -> Result<Vec<(u64, u32)>, MapError> {
        let opaque = self.connections(|conn| conn.protocol == protocol::TLS)?;
        Ok(opaque.into_iter().map(|(_, conn)| (conn.cgroup_id, conn.connector.tgid)).collect())
    }

    /// One connection's record.
    pub fn connection(&self, sock: u64) -> Result<Option<Conn>, MapError> {
        match self.direct.get(&direct_place(sock))?.pop() {
            Some(place) if place.sock == sock => Ok(Some(place.conn)),
            _ => Ok(self.conn.get(&sock)?.pop()),
        }
    }

    /// The captured heads of one request, by its [`Request::slot`](tracer_common::conn::Request::slot).
    pub fn heads(&self, sock: u64, slot: u8) -> Result<Option<Heads>, MapError> {
        if slot >= DIRECT_HEAD {
            return Ok(self.direct_heads.get(&direct_head(sock, slot))?.pop());
        }
        Ok(self.heads.get(&HeadKey { sock, slot: u64::from(slot) })?.pop())
    }

    /// DNS queries asked longer than `older_than` ago: returned once, and removed. A query that is answered meanwhile is
    /// not returned.
    pub fn sweep_dns(&self, now_ns: u64, older_than: Duration) -> Result<Vec<(DnsKey, DnsPending)>, MapError> {
        sweep(&self.dns, |_, query| is_older(now_ns, query.start_ns, older_than))
    }

    /// DNS queries asked longer than `older_than` ago that have no answer yet.
    pub fn pending_dns(&self, now_ns: u64, older_than: Duration) -> Result<Vec<(DnsKey, DnsPending)>, MapError> {
        let mut pending = Vec::new();
        self.dns.for_each(|key, query| {
            if is_older(now_ns, query.start_ns, older_than) {
                pending.push((*key, *query));
            }
        })?;
        Ok(pending)
    }

    /// Connects that never entered SYN_SENT: returned once, and removed.
    pub fn sweep_connects(&self, now_ns: u64, older_than: Duration) -> Result<Vec<ConnectAttempt>, MapError> {
        let gone = sweep(&self.connects, |_, pending| is_older(now_ns, pending.at_ns, older_than))?;
        Ok(gone.into_iter().map(|(actor, pending)| ConnectAttempt { actor, pending }).collect())
    }

    /// SYNs that reached a listener longer than `older_than` ago and that no SYN-ACK followed: returned once, and removed.
    pub fn sweep_syns(&self, now_ns: u64, older_than: Duration) -> Result<Vec<PendingSyn>, MapError> {
        let gone = sweep(&self.syns, |_, pending| is_older(now_ns, pending.start_ns, older_than))?;
        Ok(gone.into_iter().map(|(_, pending)| pending).collect())
    }

    /// Sweeps connections if more than half of the room is taken. While there is more, those that live are kept: of a
    /// request after a long pause it can be told then whether the server was closing.
    pub fn forget_idle(&self, now_ns: u64, older_than: Duration) -> Result<(), MapError> {
        let mut taken = 0;
        self.conn.for_each(|_, _| taken += 1)?;
        if taken > self.conn.max_entries()? / 2 {
            self.sweep_conns(now_ns, older_than)?;
        }
        Ok(())
    }

    /// Removes records without activity for that long and with nothing outstanding, with their heads. Best effort; a
    /// connection that wakes up after is joined in the middle. Returns how many.
    pub fn sweep_conns(&self, now_ns: u64, older_than: Duration) -> Result<usize, MapError> {
        let is_due = |conn: &Conn| !unanswered(conn) && is_older(now_ns, last_active(conn), older_than);
        let mut gone = sweep(&self.conn, |_, conn| is_due(conn))?;
        gone.iter().for_each(|(sock, _)| self.places.replaced(*sock));
        gone.extend(self.places.connections(is_due).into_iter().filter(|(sock, _)| self.places.remove(*sock)));
        for (sock, conn) in gone.iter().filter(|(_, conn)| conn.flags & conn_flag::HEADS != 0) {
            for slot in 0..conn.requests.len() as u64 {
                self.heads.delete(&HeadKey { sock: *sock, slot })?;
            }
        }
        Ok(gone.len())
    }
}

/// Finds, then removes; what was removed by someone else meanwhile isn't returned.
fn sweep<K, V>(table: &Table<K, V>, is_due: impl Fn(&K, &V) -> bool) -> Result<Vec<(K, V)>, MapError>
where
    K: Copy + zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable,
    V: Copy + zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable,
{
    let mut due = Vec::new();
    table.for_each(|key, value| {
        if is_due(key, value) {
            due.push((*key, *value));
        }
    })?;
    let mut removed = Vec::with_capacity(due.len());
    for (key, value) in due {
        if table.delete(&key)? {
            removed.push((key, value));
        }
    }
    Ok(removed)
}

/// No program has written the time 0: such an entry is still being filled.
fn is_older(now_ns: u64, then_ns: u64, age: Duration) -> bool {
    then_ns != 0 && u128::from(now_ns.saturating_sub(then_ns)) >= age.as_nanos()
}

fn last_active(conn: &Conn) -> u64 {
    conn.last_ns.into_iter().fold(conn.born_ns.max(conn.established_ns).max(conn.closing_ns), u64::max)
}

/// A client's connection whose payload is no HTTP that can be read.
pub fn is_opaque(conn: &Conn) -> bool {
    conn.role == role::CLIENT && conn.protocol != protocol::HTTP1 && conn.last_ns != [0, 0]
}

fn unanswered(conn: &Conn) -> bool {
    conn.begun > conn.answered || conn.state == SYN_SENT || {
        // Joined in the middle of the handshake.
        conn.established_ns == 0
            && conn.flags & (conn_flag::ESTABLISHED | conn_flag::JOINED) == 0
            && conn.syn_retransmits > 0
    }
}

fn add(sum: &mut Counter, counter: &Counter) {
    let Counter { latency_sum_ns, latency } = counter;
    sum.latency_sum_ns += latency_sum_ns;
    sum.latency.iter_mut().zip(latency).for_each(|(sum, value)| *sum += value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open() {
        let mut conn = Conn::new_zeroed();
        conn.flags = conn_flag::ESTABLISHED;
        assert!(!unanswered(&conn));
        conn.begun = 1;
        assert!(unanswered(&conn));
        conn.answered = 1;
        assert!(!unanswered(&conn));
        conn.state = SYN_SENT;
        assert!(unanswered(&conn));
    }

    #[test]
    fn age() {
        assert!(is_older(2_000_000_000, 1_000_000_000, Duration::from_secs(1)));
        assert!(!is_older(1_999_999_999, 1_000_000_000, Duration::from_secs(1)));
        // A record made after `now` was read.
        assert!(!is_older(1, 2, Duration::from_nanos(1)));
        // One that a program is still making.
        assert!(!is_older(u64::MAX, 0, Duration::ZERO));
    }
}
