//! Reads the programs' maps: what is pending too long, what is open, what went well, what was lost.

use std::{mem, time::Duration};

use tracer_common::stats::Stat;

use crate::event::decode::{self, DecodeError};
use crate::event::{Event, Ktime, Record};
use crate::kernel::Kernel;
use crate::kernel::map::MapError;
use crate::kernel::tables::is_opaque;

/// A DNS query without an answer for so long won't get one: resolvers wait 5 s by default.
const DNS_AGE: Duration = Duration::from_secs(6);
/// Every DNS query that a look finds open: the core knows which of them was waited for.
const DNS_OPEN: Duration = Duration::ZERO;
/// A connect that hasn't sent a SYN after so long never will.
const CONNECT_AGE: Duration = Duration::from_millis(150);
/// A SYN-ACK leaves while the SYN is being handled.
const SYN_AGE: Duration = Duration::from_millis(100);
/// A connection that is idle for so long may be forgotten.
const IDLE_AGE: Duration = Duration::from_secs(300);
/// The flight recorder overwrites what nobody read; within this time of the last look that is a loss.
const FLIGHT_GAP_NS: Ktime = 1_000_000_000;

/// What was lost outside the kernel, too.
#[derive(Debug, Default)]
pub(super) struct Losses {
    undecodable: u64,
    flight: u64,
    last_look: Ktime,
    told: Vec<(String, u64)>,
    joined: u64,
}

impl Losses {
    /// Bytes that are another protocol are no loss; anything else is.
    pub(super) fn undecodable(&mut self, error: &DecodeError) {
        match error {
            DecodeError::NotHttp | DecodeError::NotDns => {}
            error => {
                self.undecodable += 1;
                tracing::debug!(%error, "an event can't be decoded");
            }
        }
    }

    /// Totals that changed.
    pub(super) fn changed(&mut self, kernel: &Kernel) -> Result<Vec<Event>, MapError> {
        let stats = kernel.tables.stats()?;
        let mut events = Vec::new();
        let connections = stats[Stat::Joined as usize];
        if connections != self.joined {
            self.joined = connections;
            events.push(Event::Joined { connections });
        }
        let lost = |stat: Stat| {
            use Stat::{Flight, Joined, Retransmits, Tls};
            !matches!(stat, Flight | Joined | Retransmits | Tls)
        };
        let mut totals: Vec<(String, u64)> = Stat::ALL
            .iter()
            .zip(stats)
            .filter(|((stat, _), _)| lost(*stat))
            .map(|((_, name), count)| ((*name).to_owned(), count))
            .collect();
        totals.push(("flight".to_owned(), self.flight));
        totals.push(("decode".to_owned(), self.undecodable));
        totals.retain(|(_, count)| *count > 0);
        if totals != self.told {
            self.told.clone_from(&totals);
            events.push(Event::Lost { totals });
        }
        Ok(events)
    }
}

/// What waited too long.
pub(super) fn overdue(kernel: &Kernel, losses: &mut Losses, now: Ktime) -> Result<Vec<Record>, MapError> {
    let mut queries = kernel.tables.sweep_dns(now, DNS_AGE)?;
    queries.sort_by_key(|(key, query)| (query.start_ns, key.sock, key.id));
    let mut attempts = kernel.tables.sweep_connects(now, CONNECT_AGE)?;
    attempts.sort_by_key(|attempt| (attempt.pending.at_ns, attempt.actor.tid));
    let mut syns = kernel.tables.sweep_syns(now, SYN_AGE)?;
    syns.sort_by_key(|syn| (syn.start_ns, syn.tuple.remote_port));
    let mut records = Vec::with_capacity(queries.len() + attempts.len() + syns.len());
    for (key, query) in &queries {
        keep(decode::unanswered_dns(key, query, now), losses, &mut records);
    }
    records.extend(attempts.iter().map(|attempt| decode::connect_attempt(attempt, now)));
    records.extend(syns.iter().map(|syn| decode::unanswered_syn(syn, now)));
    Ok(records)
}

/// A look at everything: new flight records, open requests and connects, opaque
/// connections in use. All are stamped with the time of the look.
pub(super) fn look(kernel: &mut Kernel, losses: &mut Losses, now: Ktime) -> Result<Vec<Record>, MapError> {
    let (mut flight, overwritten) = kernel.flight.read_new()?;
    if now.saturating_sub(losses.last_look) < FLIGHT_GAP_NS {
        losses.flight += overwritten;
    }
    let since = mem::replace(&mut losses.last_look, now);
    flight.sort_by_key(|record| (record.response_ns, record.sock, record.seq));
    let mut records = Vec::with_capacity(flight.len());
    for record in &flight {
        keep(decode::flight(record).map(|record| Record { at: now, ..record }), losses, &mut records);
    }
    let mut open = kernel.tables.open_connections(since)?;
    open.sort_by_key(|(sock, conn)| (conn.born_ns, *sock));
    for (sock, conn) in &open {
        if is_opaque(conn) {
            records.push(Record { at: now, ..decode::opaque_connection(*sock, conn) });
            continue;
        }
        // Heads that can't be read are as good as heads that aren't there.
        let heads = |slot| kernel.tables.heads(*sock, slot).ok().flatten();
        for decoded in decode::open(*sock, conn, now, heads) {
            keep(decoded, losses, &mut records);
        }
    }
    let mut queries = kernel.tables.pending_dns(now, DNS_OPEN)?;
    queries.sort_by_key(|(key, query)| (query.start_ns, key.sock, key.id));
    for (key, query) in &queries {
        keep(decode::unanswered_dns(key, query, now), losses, &mut records);
    }
    Ok(records)
}

/// Forgets connections where room for others gets short.
pub(super) fn forget_idle(kernel: &Kernel, now: Ktime) -> Result<(), MapError> {
    kernel.tables.forget_idle(now, IDLE_AGE)
}

fn keep(decoded: Result<Record, DecodeError>, losses: &mut Losses, records: &mut Vec<Record>) {
    match decoded {
        Ok(record) => records.push(record),
        Err(error) => losses.undecodable(&error),
    }
}
