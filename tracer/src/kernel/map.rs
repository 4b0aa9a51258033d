//! Typed access to the programs' maps: the only file that calls `bpf(2)` for maps.
//!
//! Keys and values are wire types, read as bytes; hashes are walked in batches (`BPF_MAP_LOOKUP_BATCH`, kernel 5.6),
//! which costs a system call per few hundred entries instead of two per entry.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::ptr;

use aya::Ebpf;
use aya::maps::{Map, MapData};
use libbpf_rs::libbpf_sys;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Entries asked for at a time; a bucket of a hash that holds more makes it grow.
const BATCH: u32 = 128;

/// A map of the object that isn't as the ABI says.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    #[error(
        "the kernel programs have no map {name}; they were built from other sources than this binary: rebuild both"
    )]
    Missing { name: &'static str },
    #[error(
        "map {name} has keys of {key} and values of {value} bytes instead of {expected_key} and {expected_value}; the \
         kernel programs were built from other sources than this binary: rebuild both"
    )]
    Layout { name: &'static str, key: u32, value: u32, expected_key: usize, expected_value: usize },
    #[error("cannot inspect map {name}: {source}")]
    Inspect { name: &'static str, source: aya::maps::MapError },
    #[error("cannot {action} map {name}: {source}")]
    Io { name: &'static str, action: &'static str, source: io::Error },
}

/// A map with keys `K` and values `V`.
pub(super) struct Table<K, V> {
    map: MapData,
    name: &'static str,
    /// CPUs whose values a lookup returns; 1 for maps that aren't per CPU.
    cpus: usize,
    types: PhantomData<(K, V)>,
}

/// Takes a map out of the loaded object.
pub(super) fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, MapError> {
    ebpf.take_map(name).ok_or(MapError::Missing { name })
}

impl<K, V> Table<K, V>
where
    K: FromBytes + IntoBytes + Immutable,
    V: FromBytes + IntoBytes + Immutable,
{
    /// Takes the map out of the object and checks its layout.
    pub(super) fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Self, MapError> {
        let (map, per_cpu) = match take(ebpf, name)? {
            Map::Array(map) | Map::HashMap(map) | Map::LruHashMap(map) => (map, false),
            Map::PerCpuArray(map) | Map::PerCpuHashMap(map) | Map::PerCpuLruHashMap(map) => (map, true),
            _ => return Err(MapError::Missing { name }),
        };
        let info = map.info().map_err(|source| MapError::Inspect { name, source })?;
        if (info.key_size() as usize, info.value_size() as usize) != (size_of::<K>(), size_of::<V>()) {
            return Err(MapError::Layout {
                name,
                key: info.key_size(),
                value: info.value_size(),
                expected_key: size_of::<K>(),
                expected_value: size_of::<V>(),
            });
        }
        let cpus = if per_cpu {
            aya::util::nr_cpus().map_err(|(_, source)| MapError::Io { name, action: "count the CPUs of", source })?
        } else {
            1
        };
        Ok(Self { map, name, cpus, types: PhantomData })
    }

    /// Another handle of the same map.
    pub(super) fn share(&self) -> Result<Self, MapError> {
        let fd = self.fd().try_clone_to_owned().map_err(|source| self.error("share", source))?;
        let map = MapData::from_fd(fd).map_err(|source| MapError::Inspect { name: self.name, source })?;
        Ok(Self { map, name: self.name, cpus: self.cpus, types: PhantomData })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.map.fd().as_fd()
    }

    fn raw_fd(&self) -> RawFd {
        self.fd().as_raw_fd()
    }

    /// Distance of two CPUs' values (or of two entries' values in a batch).
    fn stride(&self) -> usize {
        if self.cpus == 1 { size_of::<V>() } else { size_of::<V>().next_multiple_of(8) }
    }

    /// The value of a key: one per CPU for per-CPU maps, empty if there is none.
    pub(super) fn get(&self, key: &K) -> Result<Vec<V>, MapError> {
        let mut buffer = vec![0u8; self.stride() * self.cpus];
        // SAFETY: the key has the map's key size (checked in `take`), the buffer holds one value for each possible CPU.
        let result = unsafe {
            libbpf_sys::bpf_map_lookup_elem(self.raw_fd(), ptr::from_ref(key).cast(), buffer.as_mut_ptr().cast())
        };
        match errno(result) {
            Ok(()) => Ok(values(&buffer, self.stride()).collect()),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(Vec::new()),
            Err(source) => Err(self.error("read", source)),
        }
    }

    pub(super) fn put(&self, key: &K, value: &V) -> Result<(), MapError> {
        // SAFETY: key and value have the map's sizes (checked in `take`); no per-CPU map is written.
        let result = unsafe {
            libbpf_sys::bpf_map_update_elem(self.raw_fd(), ptr::from_ref(key).cast(), ptr::from_ref(value).cast(), 0)
        };
        errno(result).map_err(|source| self.error("write", source))
    }

    /// Removes a key; false if it was gone already.
    pub(super) fn delete(&self, key: &K) -> Result<bool, MapError> {
        // SAFETY: the key has the map's key size (checked in `take`).
        let result = unsafe { libbpf_sys::bpf_map_delete_elem(self.raw_fd(), ptr::from_ref(key).cast()) };
        match errno(result) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(source) => Err(self.error("remove from", source)),
        }
    }

    /// Calls `f` for each entry of a hash (and each CPU's value of a per-CPU hash). Entries that the programs change
    /// meanwhile may be seen before or after, or torn between two fields; entries they add may be missed.
    pub(super) fn for_each(&self, mut f: impl FnMut(&K, &V)) -> Result<(), MapError> {
        let value_bytes = self.stride() * self.cpus;
        let mut capacity = BATCH;
        let mut position = [0u8; 64];
        let mut first = true;
        let mut keys = Vec::new();
        let mut found = Vec::new();
        loop {
            keys.resize(capacity as usize * size_of::<K>(), 0u8);
            found.resize(capacity as usize * value_bytes, 0u8);
            let mut next = [0u8; 64];
            let mut count = capacity;
            let start = if first { ptr::null_mut() } else { position.as_mut_ptr().cast() };
            // SAFETY: the buffers hold `capacity` keys and values; a hash's position is 4 bytes, which both arrays hold;
            // options may be null.
            let result = unsafe {
                libbpf_sys::bpf_map_lookup_batch(
                    self.raw_fd(),
                    start,
                    next.as_mut_ptr().cast(),
                    keys.as_mut_ptr().cast(),
                    found.as_mut_ptr().cast(),
                    &mut count,
                    ptr::null(),
                )
            };
            let last = match errno(result) {
                Ok(()) => false,
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
                // A bucket holds more entries than the buffer.
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) && capacity < 1 << 20 => {
                    capacity *= 2;
                    continue;
                }
                Err(source) => return Err(self.error("walk", source)),
            };
            let count = count as usize;
            for (key, entry) in values::<K>(&keys, size_of::<K>()).zip(found.chunks_exact(value_bytes)).take(count) {
                values(entry, self.stride()).for_each(|value: V| f(&key, &value));
            }
            if last {
                return Ok(());
            }
            position = next;
            first = false;
        }
    }

    /// Entries that there is room for.
    pub(super) fn max_entries(&self) -> Result<u32, MapError> {
        let info = self.map.info().map_err(|source| MapError::Inspect { name: self.name, source })?;
        Ok(info.max_entries())
    }

    pub(super) fn error(&self, action: &'static str, source: io::Error) -> MapError {
        MapError::Io { name: self.name, action, source }
    }
}

/// Values at a fixed distance.
fn values<V: FromBytes>(bytes: &[u8], stride: usize) -> impl Iterator<Item = V> {
    bytes.chunks_exact(stride).filter_map(|chunk| V::read_from_prefix(chunk).ok().map(|(value, _)| value))
}

/// libbpf returns negative error numbers.
fn errno(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(()) }
}
