//! The flight recorder: exchanges that went well, kept in a ring that the programs overwrite, read only when needed.
//!
//! The array is mapped into memory while something fails, and only then: its pages count as resident, and to map them
//! takes longer than to read them. Each CPU that ran at the start has a lane of its own: one piece of the array, filled in turn, where `number`
//! counts that CPU's records from 1 (its value of [`Stat::Flight`] is the last one claimed). A record's `sequence` is its
//! number when complete and something else while it is written or after it was overwritten, so a copy is good if it was
//! the number before and after.

use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use aya::Ebpf;
use tracer_common::event::FlightRecord;
use tracer_common::limits::FLIGHT_RECORDS;
use tracer_common::stats::Stat;
use zerocopy::FromZeros;

use super::cpus::Cpus;
use super::map::{MapError, Table};
use super::mapping::Mapping;

const RECORDS: u64 = FLIGHT_RECORDS as u64;

/// Reader of the flight recorder.
pub struct Flight {
    records: Table<u32, FlightRecord>,
    mapped: Option<Mapping<FlightRecord>>,
    stats: Table<u32, u64>,
    lanes: Vec<Lane>,
    cpu_bits: u32,
}

/// What has been read of one CPU's records.
struct Lane {
    cpu: u32,
    /// Number of the last record looked at.
    last: u64,
    /// Records that were claimed but not complete when looked at: they get one more look.
    unfinished: Vec<u64>,
}

impl Flight {
    pub(super) fn new(ebpf: &mut Ebpf, stats: Table<u32, u64>, cpus: Cpus) -> Result<Self, MapError> {
        let records = Table::take(ebpf, "FLIGHT")?;
        let lane = |cpu| Lane { cpu, last: 0, unfinished: Vec::new() };
        let lanes = cpus.possible.into_iter().map(lane).collect();
        let flight = Self { records, mapped: None, stats, lanes, cpu_bits: cpus.bits };
        // Whether it can be mapped is known at the start, not at the first failure.
        flight.records.map()?;
        Ok(flight)
    }

    /// The records since the last call, by time of response, and how many were overwritten unseen (or never completed).
    ///
    /// # Errors
    /// Where the counters can't be read.
    pub fn read_new(&mut self) -> Result<(Vec<FlightRecord>, u64), MapError> {
        let mut records = Vec::new();
        let overwritten = self.for_each_new(|record| records.push(*record))?;
        records.sort_by_key(|record| record.response_ns);
        Ok((records, overwritten))
    }

    /// As [`Self::read_new`], lane by lane (in order within each), without keeping what the caller doesn't want.
    ///
    /// # Errors
    /// Where the counters can't be read.
    pub fn for_each_new(&mut self, mut f: impl FnMut(&FlightRecord)) -> Result<u64, MapError> {
        let newest = self.stats.get(&(Stat::Flight as u32))?;
        let news =
            self.lanes.iter().zip(&newest).any(|(lane, newest)| lane.last < *newest || !lane.unfinished.is_empty());
        if !news {
            return Ok(0);
        }
        let memory = match &mut self.mapped {
            Some(memory) => memory,
            none => none.insert(self.records.map()?),
        };
        let mut overwritten = 0;
        for (lane, newest) in self.lanes.iter_mut().zip(newest) {
            let length = length(lane.cpu, self.cpu_bits);
            let (numbers, lost) = unread(lane.last, newest, length);
            overwritten += lost;
            let again = std::mem::take(&mut lane.unfinished);
            let retries = again.len();
            for (index, number) in again.into_iter().chain(numbers).enumerate() {
                let slot = (u64::from(lane.cpu) * length + number % length) % RECORDS;
                match copied(memory, slot, number) {
                    Copied::Complete(record) => f(&record),
                    Copied::Unfinished if index >= retries => lane.unfinished.push(number),
                    Copied::Unfinished | Copied::Overwritten => overwritten += 1,
                }
            }
            lane.last = lane.last.max(newest);
        }
        Ok(overwritten)
    }

    /// Nothing fails: the memory is given back until something does.
    pub fn rest(&mut self) {
        self.mapped = None;
    }
}

/// Records in a CPU's lane: none where it was added after the start, so that no two write to one record.
fn length(cpu: u32, bits: u32) -> u64 {
    if cpu.checked_shr(bits).unwrap_or(0) == 0 { (RECORDS >> bits).max(1) } else { 0 }
}

/// Numbers to read after `last`, and how many are gone already.
fn unread(last: u64, newest: u64, length: u64) -> (std::ops::RangeInclusive<u64>, u64) {
    let oldest = newest.saturating_sub(length) + 1;
    let begin = oldest.max(last + 1);
    (begin..=newest, begin - (last + 1))
}

fn copied(memory: &Mapping<FlightRecord>, slot: u64, number: u64) -> Copied {
    let mut copy = FlightRecord::new_zeroed();
    // SAFETY: the record lies inside the mapping and is aligned; the kernel may write meanwhile, which the two looks at
    // `sequence` notice; every byte pattern is a valid record.
    let (before, after) = unsafe {
        let record = memory.entry(slot as usize);
        let sequence = AtomicU64::from_ptr(&raw mut (*record).sequence);
        let before = sequence.load(Ordering::Acquire);
        ptr::copy_nonoverlapping(record, ptr::from_mut(&mut copy), 1);
        fence(Ordering::Acquire);
        (before, sequence.load(Ordering::Relaxed))
    };
    judge(number, before, after, copy)
}

#[expect(clippy::large_enum_variant, reason = "short-lived, on the stack")]
enum Copied {
    Complete(FlightRecord),
    Unfinished,
    Overwritten,
}

fn judge(number: u64, before: u64, after: u64, copy: FlightRecord) -> Copied {
    match (before == number, after == number) {
        (true, true) => Copied::Complete(copy),
        // Another record is being written over it.
        (true, false) => Copied::Overwritten,
        _ if before.max(after) > number => Copied::Overwritten,
        _ => Copied::Unfinished,
    }
}

const _: () = assert!(size_of::<FlightRecord>().is_multiple_of(8) && FLIGHT_RECORDS.is_power_of_two());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torn_records_are_told_apart() {
        let copy = FlightRecord::new_zeroed();
        assert!(matches!(judge(7, 7, 7, copy), Copied::Complete(_)));
        assert!(matches!(judge(7, 0, 0, copy), Copied::Unfinished));
        assert!(matches!(judge(7, 0, 7, copy), Copied::Unfinished));
        assert!(matches!(judge(7, 7, 0, copy), Copied::Overwritten));
        assert!(matches!(judge(7, 65543, 65543, copy), Copied::Overwritten));
    }

    #[test]
    fn what_is_unread() {
        assert!(unread(0, 0, 8).0.is_empty());
        assert_eq!(unread(0, 3, 8), (1..=3, 0));
        assert_eq!(unread(3, 8, 8), (4..=8, 0));
        assert_eq!(unread(3, 20, 8), (13..=20, 9));
        assert!(unread(20, 20, 8).0.is_empty());
        let (none, lost) = unread(3, 20, 0);
        assert_eq!((none.count(), lost), (0, 17));
    }

    #[test]
    fn lanes() {
        assert_eq!([0, 3, 4].map(|cpu| length(cpu, 2)), [RECORDS / 4, RECORDS / 4, 0]);
        assert_eq!([0, 1].map(|cpu| length(cpu, 0)), [RECORDS, 0]);
    }
}
