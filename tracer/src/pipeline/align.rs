//! How far the clocks of several captures are apart, told by what two of them saw of the same packets: a server can't have
//! read a request before its client sent it, nor can the client have the answer before the server gave it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustc_hash::FxHashMap;

use super::PipelineError;
use crate::event::record::{self, ReadError};
use crate::event::{Event, Exchange, Outcome, Role, SignalKind};

/// Clocks further apart than this aren't compared: the same address and port then belong to two connections.
const FURTHEST_NS: i64 = 10_000_000_000;
/// What a packet takes from node to node at most, where nothing bounds it from the other side.
const WAY_NS: i64 = 1_000_000;
/// Of each kind and file: enough to compare clocks by.
const SIGHTINGS: usize = 50_000;

/// Nanoseconds to add to each file's wall-clock time for the first one's; 0 where nothing was seen by both.
pub(super) fn corrections(files: &[PathBuf]) -> Result<Vec<i64>, PipelineError> {
    let mut seen = Vec::new();
    for path in files {
        if !path.is_file() {
            return Err(PipelineError::NotAFile(path.clone()));
        }
        seen.push(Sightings::read(path)?);
    }
    Ok(solve(&seen))
}

/// An interval in the file's wall-clock time.
type Span = (i64, i64);

/// What a capture saw that another one may have seen, too.
#[derive(Debug, Default)]
struct Sightings {
    /// Exchanges, by role and what is the same at both ends.
    exchanges: [FxHashMap<Hop, Span>; 2],
    /// Connects that came to nothing, by the client's end.
    connects: FxHashMap<SocketAddr, Span>,
    /// When packets of such a client were dropped, rejected or refused.
    ends: FxHashMap<SocketAddr, Span>,
}

/// Sequence and acknowledgement number of a request and its line: masquerade changes neither.
type Hop = (u32, u32, u64);

impl Sightings {
    fn read(path: &Path) -> Result<Self, ReadError> {
        let mut reader = record::open(path)?;
        let offset = reader.header.wall_offset_ns;
        let wall = |ktime: u64| (ktime as i64).saturating_add(offset);
        let mut seen = Self::default();
        for record in reader.by_ref() {
            let record = record?;
            let at = wall(record.at);
            match &record.event {
                Event::Exchange(x) => seen.exchange(x, wall),
                Event::Connect(x) if !x.open => add(&mut seen.connects, x.local, (wall(x.start_ns), wall(x.end_ns))),
                Event::Drop(x) => add(&mut seen.ends, x.source, (at, at)),
                Event::Icmp(x) => add(&mut seen.ends, x.source, (at, at)),
                Event::Signal(x) if x.signal == SignalKind::TcpSendReset && x.no_socket => {
                    add(&mut seen.ends, x.remote, (at, at));
                }
                _ => {}
            }
        }
        Ok(seen)
    }

    fn exchange(&mut self, exchange: &Exchange, wall: impl Fn(u64) -> i64) {
        let Some(key) = exchange.head_key() else { return };
        let role = usize::from(exchange.role == Role::Server);
        // The end of what got no answer is each side's own.
        let end = if matches!(exchange.outcome, Outcome::Status(_)) { wall(exchange.end_ns) } else { i64::MAX };
        add(&mut self.exchanges[role], key, (wall(exchange.start_ns), end));
    }
}

fn add<K: std::hash::Hash + Eq>(known: &mut FxHashMap<K, Span>, key: K, span: Span) {
    if known.len() < SIGHTINGS || known.contains_key(&key) {
        known
            .entry(key)
            .and_modify(|(from, to)| (*from, *to) = ((*from).min(span.0), (*to).max(span.1)))
            .or_insert(span);
    }
}

/// What may be added to one file's time for another's.
#[derive(Clone, Copy, Debug, Default)]
struct Bounds {
    least: Option<i64>,
    most: Option<i64>,
}

impl Bounds {
    /// What happened within `inner` happened within `outer`, as another clock tells it.
    fn within(&mut self, inner: Span, outer: Span) {
        let least = outer.0.saturating_sub(inner.0);
        if least.abs() <= FURTHEST_NS {
            self.least = Some(self.least.map_or(least, |known| known.max(least)));
        }
        if inner.1 != i64::MAX && outer.1 != i64::MAX {
            let most = outer.1.saturating_sub(inner.1);
            if most.abs() <= FURTHEST_NS {
                self.most = Some(self.most.map_or(most, |known| known.min(most)));
            }
        }
    }

    /// For the other direction.
    fn reversed(self) -> Self {
        Self { least: self.most.map(|most| -most), most: self.least.map(|least| -least) }
    }

    fn both(self, other: Self) -> Self {
        Self { least: self.least.max(other.least), most: [self.most, other.most].into_iter().flatten().min() }
    }

    /// The fastest packet took hardly any time. Bounds that contradict each other (a clock was set meanwhile) are split.
    fn estimate(self) -> Option<i64> {
        match (self.least, self.most) {
            (Some(least), Some(most)) if least <= most => Some(least + ((most - least) / 2).min(WAY_NS)),
            (Some(least), Some(most)) => Some(i64::midpoint(least, most)),
            (Some(least), None) => Some(least),
            (None, Some(most)) => Some(most),
            (None, None) => None,
        }
    }
}

/// What to add to `b`'s time for `a`'s.
fn compare(a: &Sightings, b: &Sightings) -> Option<i64> {
    let calls = |client: &Sightings, server: &Sightings| {
        let mut bounds = Bounds::default();
        for (hop, served) in &server.exchanges[1] {
            if let Some(called) = client.exchanges[0].get(hop) {
                bounds.within(*served, *called);
            }
        }
        bounds
    };
    let ends = |client: &Sightings, other: &Sightings| {
        let mut bounds = Bounds::default();
        for (address, end) in &other.ends {
            if let Some(connect) = client.connects.get(address) {
                bounds.within(*end, *connect);
            }
        }
        bounds
    };
    // Exchanges know the connection for sure; an address alone may have been used again.
    let exact = calls(a, b).both(calls(b, a).reversed()).estimate();
    exact.or_else(|| ends(a, b).both(ends(b, a).reversed()).estimate())
}

/// Each file's correction, by way of others where it shares nothing with the first.
fn solve(seen: &[Sightings]) -> Vec<i64> {
    let mut known = BTreeMap::from([(0, 0_i64)]);
    let mut reached = vec![0];
    while let Some(from) = reached.pop() {
        for to in 0..seen.len() {
            if known.contains_key(&to) {
                continue;
            }
            if let Some(correction) = compare(&seen[from], &seen[to]) {
                known.insert(to, known[&from] + correction);
                reached.push(to);
            }
        }
    }
    (0..seen.len()).map(|file| known.get(&file).copied().unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    fn of(role: usize, exchanges: &[(u32, i64, i64)]) -> Sightings {
        let mut seen = Sightings::default();
        for &(seq, from, to) in exchanges {
            seen.exchanges[role].insert((seq, 0, 0), (from * MS, to * MS));
        }
        seen
    }

    #[test]
    fn a_server_works_while_its_client_waits() {
        // The server's clock is 500 ms ahead; the way takes 1 ms.
        let client = of(0, &[(1, 100, 120), (2, 200, 210)]);
        let server = of(1, &[(1, 601, 619), (2, 701, 709), (3, 0, 0)]);
        let found = solve(&[client, server])[1];
        assert!((found + 500 * MS).abs() <= MS, "{found}");
    }

    #[test]
    fn a_third_node_is_compared_by_way_of_the_second() {
        let first = of(0, &[(1, 100, 120)]);
        let mut second = of(1, &[(1, 601, 619)]);
        second.exchanges[0].insert((2, 0, 0), (605 * MS, 615 * MS));
        let third = of(1, &[(2, 306, 314)]);
        let found = solve(&[first, second, third])[2];
        assert!((found + 200 * MS).abs() <= 2 * MS, "{found}");
    }

    #[test]
    fn a_dropped_syn_was_sent_before() {
        let address = "10.1.0.4:4000".parse().unwrap();
        let (mut client, mut other) = (Sightings::default(), Sightings::default());
        client.connects.insert(address, (1000 * MS, 2000 * MS));
        other.ends.insert(address, (600 * MS, 1600 * MS));
        let found = solve(&[client, other])[1];
        assert!((found - 400 * MS).abs() <= MS, "{found}");
    }

    #[test]
    fn what_shares_nothing_keeps_its_time() {
        assert_eq!(solve(&[of(0, &[(1, 0, 1)]), of(1, &[(2, 5000, 5001)])]), [0, 0]);
    }
}
