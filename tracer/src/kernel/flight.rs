//! The flight recorder: exchanges that went well, kept in a ring that the programs overwrite, read only when needed.
//!
//! The array is mapped into memory. Record `n` lies at `(n - 1) % FLIGHT_RECORDS`; its `sequence` is `n` when complete
//! and something else while it is written or after it was overwritten, so a copy is good if it was `n` before and after.

use std::io;
use std::mem::offset_of;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering, fence};

use aya::Ebpf;
use std::os::fd::AsRawFd;
use tracer_common::event::FlightRecord;
use tracer_common::limits::FLIGHT_RECORDS;
use zerocopy::{FromBytes, FromZeros};

use super::map::{MapError, Table};

const BYTES: usize = size_of::<FlightRecord>() * FLIGHT_RECORDS as usize;

/// Reader of the flight recorder.
pub struct Flight {
    memory: Mapping,
    next: Table<u32, u64>,
    /// Number of the last record looked at.
    last: u64,
    /// Records that were claimed but not complete when looked at: they get one more look.
    unfinished: Vec<u64>,
}

/// The mapped array.
struct Mapping(NonNull<u8>);

// SAFETY: the mapping is readable memory that belongs to the process, not to a thread; it is only read, with the checks
// above against concurrent writes by the kernel.
unsafe impl Send for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped with this length in `Flight::take`, and not used after.
        unsafe { libc::munmap(self.0.as_ptr().cast(), BYTES) };
    }
}

impl Flight {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, MapError> {
        let records = Table::<u32, FlightRecord>::take(ebpf, "FLIGHT")?;
        let next = Table::<u32, u64>::take(ebpf, "FLIGHT_NEXT")?;
        // SAFETY: a new shared mapping of the array's values, which are contiguous (the size is a multiple of 8) and
        // `BYTES` long; the kernel refuses a mapping beyond the array.
        let memory = unsafe {
            libc::mmap(ptr::null_mut(), BYTES, libc::PROT_READ, libc::MAP_SHARED, records.fd().as_raw_fd(), 0)
        };
        let memory = NonNull::new(memory.cast::<u8>())
            .filter(|memory| memory.as_ptr().cast() != libc::MAP_FAILED)
            .ok_or_else(|| MapError::Io { name: "FLIGHT", action: "map", source: io::Error::last_os_error() })?;
        Ok(Self { memory: Mapping(memory), next, last: 0, unfinished: Vec::new() })
    }

    /// The records since the last call, in sequence order, and how many were overwritten unseen (or never completed).
    ///
    /// # Errors
    /// Where the counter can't be read.
    pub fn read_new(&mut self) -> Result<(Vec<FlightRecord>, u64), MapError> {
        let mut records = Vec::new();
        let overwritten = self.for_each_new(|record| records.push(*record))?;
        Ok((records, overwritten))
    }

    /// As [`Self::read_new`], without keeping what the caller doesn't want.
    ///
    /// # Errors
    /// Where the counter can't be read.
    pub fn for_each_new(&mut self, mut f: impl FnMut(&FlightRecord)) -> Result<u64, MapError> {
        let newest = self.next.get(&0)?.first().copied().unwrap_or(0);
        let oldest = newest.saturating_sub(u64::from(FLIGHT_RECORDS)) + 1;
        let begin = oldest.max(self.last + 1);
        let mut overwritten = begin - (self.last + 1);
        let retry = std::mem::take(&mut self.unfinished);
        for number in retry {
            match self.copy(number) {
                Copied::Complete(record) => f(&record),
                Copied::Unfinished | Copied::Overwritten => overwritten += 1,
            }
        }
        for number in begin..=newest {
            match self.copy(number) {
                Copied::Complete(record) => f(&record),
                Copied::Unfinished => self.unfinished.push(number),
                Copied::Overwritten => overwritten += 1,
            }
        }
        self.last = self.last.max(newest);
        Ok(overwritten)
    }

    fn copy(&self, number: u64) -> Copied {
        let index = (number - 1) % u64::from(FLIGHT_RECORDS);
        let mut copy = FlightRecord::new_zeroed();
        // SAFETY: the index lies inside the mapping; records are 8-aligned (their size is a multiple of 8 and the
        // mapping begins at a page); the kernel may write meanwhile, which the two looks at `sequence` notice; every
        // byte pattern is a valid record.
        let (before, after) = unsafe {
            let record = self.memory.0.as_ptr().add(index as usize * size_of::<FlightRecord>());
            let sequence = AtomicU64::from_ptr(record.add(offset_of!(FlightRecord, sequence)).cast());
            let before = sequence.load(Ordering::Acquire);
            ptr::copy_nonoverlapping(record, ptr::from_mut(&mut copy).cast(), size_of::<FlightRecord>());
            fence(Ordering::Acquire);
            (before, sequence.load(Ordering::Relaxed))
        };
        judge(number, before, after, copy)
    }
}

#[expect(clippy::large_enum_variant, reason = "short-lived, on the stack")]
enum Copied {
    Complete(FlightRecord),
    Unfinished,
    Overwritten,
}

fn judge(number: u64, before: u64, after: u64, copy: FlightRecord) -> Copied {
    if before == number && after == number {
        Copied::Complete(copy)
    } else if before.max(after) > number {
        Copied::Overwritten
    } else if before == number {
        // Complete before, torn after: another record is being written over it.
        Copied::Overwritten
    } else {
        Copied::Unfinished
    }
}

const _: () = {
    const fn readable<T: FromBytes>() {}
    readable::<FlightRecord>();
    assert!(size_of::<FlightRecord>().is_multiple_of(8));
};

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
}
