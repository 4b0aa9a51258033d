//! Every map, with why it has its type and size.

use aya_ebpf::{
    helpers::generated::bpf_get_smp_processor_id,
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, PerCpuHashMap, RingBuf},
};
use tracer_common::{
    Actor,
    config::DROP_ACTIONS,
    conn::{Conn, DirectConn, HeadKey},
    event::{DnsKey, DnsPending, FlightRecord, Heads, PacketTuple, PendingConnect, PendingSyn, SynKey},
    limits::{DIRECT_BITS, DIRECT_COUNTERS, FLIGHT_RECORDS},
    stats::{Counter, CounterKey, DirectCounter, LOST, Stat},
};

use crate::globals::config;

const NO_PREALLOC: u32 = aya_ebpf::bindings::BPF_F_NO_PREALLOC;
const MMAPABLE: u32 = aya_ebpf::bindings::BPF_F_MMAPABLE;

/// What failed. Its own ring, so that no load of anything else can push it out.
#[map]
pub(crate) static FAILURES: RingBuf = RingBuf::with_byte_size(8 << 20, 0);
/// Everything else.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);
/// Connections, each at the place that its socket's address gives ([`direct_place`](tracer_common::conn::direct_place)). User space reads it mapped.
#[map]
pub(crate) static DIRECT_CONN: Array<DirectConn> = Array::with_max_entries(1 << DIRECT_BITS, MMAPABLE);
/// Those whose place was taken, by the address of their `struct sock`. A plain hash: an LRU would lose failures in silence.
#[map]
pub(crate) static CONN: HashMap<u64, Conn> = HashMap::with_max_entries(65536, NO_PREALLOC);
/// Until when that hash is taken for full.
#[map]
pub(crate) static FULL_UNTIL: Array<u64> = Array::with_max_entries(1, 0);
/// Captured heads of connections with a place of their own, at that place. Apart from them, because most connections never
/// carry HTTP, and one request at a time, after which comes another: heads of more are in `HEADS`.
#[map]
pub(crate) static DIRECT_HEADS: Array<Heads> = Array::with_max_entries(2 << DIRECT_BITS, 0);
/// All other captured heads.
#[map]
pub(crate) static HEADS: HashMap<HeadKey, Heads> = HashMap::with_max_entries(32768, NO_PREALLOC);
/// DNS queries without an answer yet.
#[map]
pub(crate) static DNS_PENDING: HashMap<DnsKey, DnsPending> = HashMap::with_max_entries(16384, NO_PREALLOC);
/// `connect` calls that have not reached SYN_SENT yet.
#[map]
pub(crate) static PENDING_CONNECT: HashMap<Actor, PendingConnect> = HashMap::with_max_entries(4096, NO_PREALLOC);
/// SYNs that reached a listener and have no SYN-ACK yet; user space sweeps those that wait too long.
#[map]
pub(crate) static PENDING_SYN: HashMap<SynKey, PendingSyn> = HashMap::with_max_entries(4096, NO_PREALLOC);
/// Processes that read a request: only their exits are events whatever the exit code. Losing one costs a hint.
#[map]
pub(crate) static SERVED: LruHashMap<u32, u8> = LruHashMap::with_max_entries(4096, 0);
/// When a drop of a flow was last reported, so that a flood can't fill the ring. Losing one costs a repeated report.
#[map]
pub(crate) static DROP_SEEN: LruHashMap<PacketTuple, u64> = LruHashMap::with_max_entries(8192, 0);
/// Requests by cgroup and peer, at a place that these give, in a lane for each CPU. User space reads it mapped.
#[map]
pub(crate) static DIRECT_COUNTER: Array<DirectCounter> = Array::with_max_entries(DIRECT_COUNTERS, MMAPABLE);
/// Those whose place was taken.
#[map]
pub(crate) static COUNTERS: PerCpuHashMap<CounterKey, Counter> = PerCpuHashMap::with_max_entries(8192, NO_PREALLOC);
/// How many sockets the iterator gave a record, in all.
#[map]
pub(crate) static TAKEN_OVER: Array<u64> = Array::with_max_entries(1, 0);
/// Losses and skips.
#[map]
pub(crate) static STATS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Stat::COUNT as u32, 0);
/// What the rings lost, by ring and kind of event.
#[map(name = "LOST")]
pub(crate) static LOST_EVENTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(LOST, 0);
/// The flight recorder: exchanges that went well, overwritten, read only after a failure.
#[map]
pub(crate) static FLIGHT: Array<FlightRecord> = Array::with_max_entries(FLIGHT_RECORDS, MMAPABLE);
/// `drop_action` by drop reason, filled before attach from the running kernel's enum.
#[map]
pub(crate) static DROP_ACTION: Array<u8> = Array::with_max_entries(DROP_ACTIONS, 0);

/// Templates for inserting values that are too large for the 512-byte stack; they live in read-only data.
pub(crate) static ZERO_CONN: Conn = zeroed();
pub(crate) static ZERO_HEADS: Heads = zeroed();
pub(crate) static ZERO_DNS: DnsPending = zeroed();
pub(crate) static ZERO_COUNTER: Counter = zeroed();

const fn zeroed<T>() -> T {
    // SAFETY: only used for wire types, which are `FromBytes`.
    unsafe { core::mem::zeroed() }
}

/// Adds one to a statistic.
#[inline(always)]
pub(crate) fn count(stat: Stat) {
    add_one(&STATS, stat as u32);
}

/// Adds one to what a ring lost of a kind.
#[inline(always)]
pub(crate) fn count_lost(index: u32) {
    add_one(&LOST_EVENTS, index);
}

#[inline(always)]
fn add_one(counts: &PerCpuArray<u64>, index: u32) {
    if let Some(value) = counts.get_ptr_mut(index) {
        // SAFETY: a live map value of this CPU.
        unsafe { *value += 1 };
    }
}

/// Where in an array with a lane for each CPU this one's entry with a number is. A lane is one piece: CPUs don't share cache lines,
/// and need no atomics. One that was added after the start has none.
#[inline(always)]
pub(crate) fn lane(entries: u32, number: u32) -> Option<u32> {
    // SAFETY: no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    if cpu >> config!(cpu_bits) != 0 {
        return None;
    }
    let length = entries >> config!(cpu_bits);
    Some((cpu.wrapping_mul(length) | (number & length.wrapping_sub(1))) & (entries - 1))
}

/// Takes a free place. Of those who want it at once none or one gets it.
///
/// # Safety
/// In a live map value.
#[inline(always)]
pub(crate) unsafe fn claim(claims: *mut u64) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        if claims.read_volatile() != 0 {
            return false;
        }
        add(claims, 1);
        if claims.read_volatile() == 1 {
            return true;
        }
        add(claims, -1);
    }
    false
}

/// Adds at once. Without asking for the sum, which kernels before 5.12 can't give.
///
/// # Safety
/// In a live map value.
#[inline(always)]
pub(crate) unsafe fn add(to: *mut u64, number: i64) {
    // SAFETY: the caller's promise.
    unsafe { core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) to, in(reg) number) };
}
