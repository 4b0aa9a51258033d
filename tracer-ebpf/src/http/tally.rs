//! Answered requests, counted by cgroup, peer, method and status.

use core::sync::atomic::{Ordering, compiler_fence};

use tracer_common::{
    conn::{Conn, role},
    event::Heads,
    limits::{DIRECT_COUNTERS, LATENCY_BOUNDS_NS},
    stats::{Counter, CounterKey, DirectCounter, Stat},
};

use crate::{
    maps::{COUNTERS, DIRECT_COUNTER, ZERO_COUNTER, claim, count, lane},
    packet::opaque,
};

/// Counts the exchange in `slot`.
#[inline(always)]
pub(crate) fn exchange(conn: &Conn, slot: usize, heads: *const Heads) {
    let request = &conn.requests[slot];
    let server = conn.role == role::SERVER;
    let key = CounterKey {
        cgroup_id: conn.cgroup_id,
        peer: if server { [0; 16] } else { conn.tuple.remote },
        port: if server { conn.tuple.local_port } else { conn.tuple.remote_port },
        status: request.status,
        // SAFETY: a live map value, which begins with the request's head.
        method: unsafe { *(&raw const (*heads).request).cast::<[u8; 2]>() },
        role: conn.role,
        pad: 0,
    };
    let Some(counter) = direct(&key).or_else(|| hashed(&key)) else { return };
    let latency = request.response_ns.wrapping_sub(request.start_ns);
    // SAFETY: a live map value of this CPU.
    let counter = unsafe { &mut *counter };
    counter.latency_sum_ns += latency;
    let mut bucket = 0;
    for bound in LATENCY_BOUNDS_NS {
        if latency <= bound {
            break;
        }
        bucket += 1;
    }
    let bucket = opaque(bucket) as usize;
    if bucket < counter.latency.len() {
        counter.latency[bucket] += 1;
    }
}

type Words = [u64; size_of::<CounterKey>() / 8];
/// Of the words of a key: the one with the role.
const LAST: usize = 3;

/// The counter at the key's own place, if this CPU has one and it is the key's or free. Programs of one CPU may interrupt each other.
#[inline(always)]
fn direct(key: &CounterKey) -> Option<*mut Counter> {
    // SAFETY: of the same size, and aligned alike.
    let words = unsafe { *core::ptr::from_ref(key).cast::<Words>() };
    let mut mixed = words[0];
    for word in &words[1..] {
        mixed = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (mixed >> 32) ^ word;
    }
    let hash = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let place: *mut DirectCounter = DIRECT_COUNTER.get_ptr_mut(lane(DIRECT_COUNTERS, hash as u32)?)?;
    // SAFETY: a live map value; the key has the size and alignment of its words.
    unsafe {
        let there = (&raw mut (*place).key).cast::<u64>();
        let differs = (there.read() ^ words[0])
            | (there.add(1).read() ^ words[1])
            | (there.add(2).read() ^ words[2])
            | (there.add(LAST).read() ^ words[LAST]);
        if differs != 0 {
            if !claim(&raw mut (*place).claims) {
                return None;
            }
            there.write(words[0]);
            there.add(1).write(words[1]);
            there.add(2).write(words[2]);
            // Whoever looks before this is written finds another's key.
            compiler_fence(Ordering::Release);
            there.add(LAST).write_volatile(words[LAST]);
        }
        Some(&raw mut (*place).counter)
    }
}

#[inline(always)]
fn hashed(key: &CounterKey) -> Option<*mut Counter> {
    if let Some(counter) = COUNTERS.get_ptr_mut(key) {
        return Some(counter);
    }
    if COUNTERS.insert(key, &ZERO_COUNTER, 0).is_err() {
        count(Stat::LostCounter);
    }
    COUNTERS.get_ptr_mut(key)
}
