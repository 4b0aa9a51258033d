//! Arrays of the programs that are read where the kernel has them, without a system call for each entry.

use std::io;
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

use tracer_common::conn::{Conn, DirectConn, direct_place};
use tracer_common::stats::{Counter, CounterKey, DirectCounter};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use super::map::{MapError, Table};

/// An array in memory, whose pages count as resident.
pub(super) struct Mapping<V> {
    memory: NonNull<u8>,
    entries: usize,
    types: PhantomData<V>,
}

/// One that may be changed.
pub(super) struct Writable<V>(Mapping<V>);

impl<V> Deref for Writable<V> {
    type Target = Mapping<V>;

    fn deref(&self) -> &Mapping<V> {
        &self.0
    }
}

// SAFETY: the memory is the kernel's and the process's, no thread's.
unsafe impl<V: Send> Send for Mapping<V> {}

impl<V> Drop for Mapping<V> {
    fn drop(&mut self) {
        // SAFETY: mapped with this length in `Table::map_with`, and not used after.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), self.entries * size_of::<V>()) };
    }
}

impl<V> Mapping<V> {
    pub(super) fn len(&self) -> usize {
        self.entries
    }

    /// Where an entry is. The kernel may write to it at any time.
    pub(super) fn entry(&self, index: usize) -> *mut V {
        assert!(index < self.entries, "entry {index} of {}", self.entries);
        // SAFETY: it lies inside the mapping, which begins at a page; sizes are multiples of 8 (see `Table::map_with`).
        unsafe { self.memory.as_ptr().cast::<V>().add(index) }
    }
}

impl<V> Table<u32, V>
where
    V: FromBytes + IntoBytes + Immutable,
{
    /// Maps an array that was made to be mapped, to read it.
    ///
    /// # Errors
    /// Where the kernel refuses it.
    pub(super) fn map(&self) -> Result<Mapping<V>, MapError> {
        self.map_with(libc::PROT_READ)
    }

    /// Maps such an array to read and to change it.
    ///
    /// # Errors
    /// Where the kernel refuses it.
    pub(super) fn map_writable(&self) -> Result<Writable<V>, MapError> {
        self.map_with(libc::PROT_READ | libc::PROT_WRITE).map(Writable)
    }

    fn map_with(&self, protection: libc::c_int) -> Result<Mapping<V>, MapError> {
        // The kernel rounds the size up, and values would be no longer beside each other (`kernel/bpf/arraymap.c`).
        const { assert!(size_of::<V>().is_multiple_of(8)) };
        let entries = self.max_entries()? as usize;
        // SAFETY: a new shared mapping of the array's values; the kernel refuses one beyond the array.
        let memory = unsafe {
            libc::mmap(
                ptr::null_mut(),
                entries * size_of::<V>(),
                protection,
                libc::MAP_SHARED,
                self.fd().as_raw_fd(),
                0,
            )
        };
        NonNull::new(memory.cast::<u8>())
            .filter(|memory| memory.as_ptr().cast() != libc::MAP_FAILED)
            .map(|memory| Mapping { memory, entries, types: PhantomData })
            .ok_or_else(|| self.error("map", io::Error::last_os_error()))
    }
}

impl Writable<DirectConn> {
    /// Connections that the test admits. One that a program changes meanwhile may be torn between two fields.
    pub(super) fn connections(&self, is_wanted: impl Fn(&Conn) -> bool) -> Vec<(u64, Conn)> {
        let mut found = Vec::new();
        for index in 0..self.len() {
            let place = self.entry(index);
            // SAFETY: aligned, inside the mapping; every byte pattern is a valid connection.
            let sock = unsafe { AtomicU64::from_ptr(&raw mut (*place).sock).load(Ordering::Acquire) };
            if sock == 0 {
                continue;
            }
            // SAFETY: as before.
            let conn = unsafe { (&raw const (*place).conn).read() };
            if is_wanted(&conn) {
                found.push((sock, conn));
            }
        }
        found
    }

    /// Notes that a connection with this place was removed from the hash.
    pub(super) fn replaced(&self, sock: u64) {
        let place = self.entry(direct_place(sock) as usize);
        // SAFETY: aligned, inside the mapping.
        unsafe { AtomicU64::from_ptr(&raw mut (*place).displaced) }.fetch_sub(1, Ordering::AcqRel);
    }

    /// Frees a connection's place, if it still has it. Should its end be seen at this very moment, nobody gets the place again.
    pub(super) fn remove(&self, sock: u64) -> bool {
        let place = self.entry(direct_place(sock) as usize);
        // SAFETY: aligned, inside the mapping.
        let (holder, claims) =
            unsafe { (AtomicU64::from_ptr(&raw mut (*place).sock), AtomicU64::from_ptr(&raw mut (*place).claims)) };
        let ours = holder.compare_exchange(sock, 0, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if ours {
            claims.fetch_sub(1, Ordering::AcqRel);
        }
        ours
    }
}

impl Mapping<DirectCounter> {
    /// Calls `f` for each CPU's counter of each key.
    pub(super) fn counters(&self, mut f: impl FnMut(&CounterKey, &Counter)) {
        for index in 0..self.len() {
            let place = self.entry(index);
            // SAFETY: aligned, inside the mapping; every byte pattern is a valid key. Its role is written last.
            let key = unsafe { (&raw const (*place).key).read_volatile() };
            if key.role != 0 {
                // SAFETY: as before. A request may be in the sum and in no bucket yet.
                let counter = unsafe { (&raw const (*place).counter).read_volatile() };
                f(&key, &counter);
            }
        }
    }
}

impl Writable<DirectCounter> {
    /// Frees the places of these keys.
    pub(super) fn forget(&self, keys: &[CounterKey]) {
        for index in 0..self.len() {
            let place = self.entry(index);
            // SAFETY: aligned, inside the mapping; every byte pattern is a valid key and counter.
            unsafe {
                if !keys.contains(&(&raw const (*place).key).read_volatile()) {
                    continue;
                }
                (&raw mut (*place).key).write_volatile(CounterKey::new_zeroed());
                (&raw mut (*place).counter).write_volatile(Counter::new_zeroed());
                AtomicU64::from_ptr(&raw mut (*place).claims).fetch_sub(1, Ordering::AcqRel);
            }
        }
    }
}
