//! The time that it takes to start. The kernel's types and the verifier take a processor for tenths of a second, and on a node whose
//! processors are all busy somebody else's requests wait for it: for as long as the scheduler lets a thread run at a time, some 3 ms.

use std::{io, thread};

/// The shortest that the scheduler grants (`kernel/sched/syscalls.c` `__setparam_fair`, since 6.12).
const SHORTEST_NS: u64 = 100_000;

/// Does the work in a thread that can be interrupted after the shortest time there is. It gets as much time in all as any other.
/// Where kernels know no such thing it runs as usual.
pub(super) fn in_short_slices<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            if let Err(error) = shorten() {
                tracing::debug!(%error, "the scheduler can't be asked for shorter slices");
            }
            work()
        });
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Shortens the slices of the calling thread.
fn shorten() -> io::Result<()> {
    let size = size_of::<libc::sched_attr>() as u32;
    // SAFETY: plain numbers, all of which may be zero.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    // SAFETY: the structure is of the size told; 0 is the calling thread.
    let got = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
    if got != 0 {
        return Err(io::Error::last_os_error());
    }
    attributes.sched_runtime = SHORTEST_NS;
    // SAFETY: as before.
    let set = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
