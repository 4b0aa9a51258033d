//! The only file that reads a clock.
//!
//! Events carry `bpf_ktime_get_ns`, which is `CLOCK_MONOTONIC`; people read wall-clock time. [`wall_offset_ns`] joins
//! the two. Read it again from time to time: the wall clock is stepped and slewed, the monotonic clock isn't stepped.

use std::mem::MaybeUninit;

/// Nanoseconds on the clock of `bpf_ktime_get_ns`.
pub fn monotonic_ns() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// CPU time of this thread: what work costs, however busy the machine is.
pub fn thread_ns() -> u64 {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Nanoseconds to add to a monotonic time to get nanoseconds since the Unix epoch.
pub fn wall_offset_ns() -> i64 {
    // The reading of the wall clock lies between two readings of the monotonic one; the narrowest of a few brackets wins,
    // so that being scheduled away in between costs nothing.
    (0..5)
        .map(|_| {
            let before = monotonic_ns();
            let wall = read(libc::CLOCK_REALTIME);
            let after = monotonic_ns();
            let width = after.saturating_sub(before);
            (width, wall as i64 - (before + width / 2) as i64)
        })
        .min_by_key(|(width, _)| *width)
        .map_or(0, |(_, offset)| offset)
}

/// Nanoseconds since the Unix epoch at a monotonic time, by the wall clock as it is set now.
pub fn wall_of(monotonic_ns: u64) -> i64 {
    (monotonic_ns as i64).saturating_add(wall_offset_ns())
}

/// Nanoseconds since the Unix epoch.
pub fn wall_ns() -> i64 {
    read(libc::CLOCK_REALTIME) as i64
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: the pointer is valid for one `timespec`; zeroes are a valid one should the call fail (it can't for these
    // clocks).
    let time = unsafe {
        libc::clock_gettime(clock, time.as_mut_ptr());
        time.assume_init()
    };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the other clock, to compare with")]
    fn monotonic_plus_offset_is_the_wall_clock() {
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as i64;
        let ours = wall_of(monotonic_ns());
        assert!((ours - wall).abs() < 1_000_000_000, "{ours} is more than a second from {wall}");
    }
}
