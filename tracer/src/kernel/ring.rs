//! The two ring buffers: failures first, everything else after.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use tokio::io::unix::AsyncFd;

use crate::clock;
use crate::event::Ktime;

/// A drain follows the one before no sooner: under load a wake-up for each event would cost more than the event.
const GATHER_NS: Ktime = 2_000_000;

/// Which ring an event came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    Failures,
    Events,
}

/// What one call of [`Rings::drain`] handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    pub failures: usize,
    pub events: usize,
    /// The bound was reached: more may wait.
    pub more: bool,
}

/// Reader of both rings.
pub struct Rings {
    failures: RingBuf<MapData>,
    events: RingBuf<MapData>,
    /// Registered with the runtime on first use, so that reading without waiting needs none.
    wake: Option<[AsyncFd<OwnedFd>; 2]>,
    more: bool,
    /// When something was last drained.
    drained_at: Ktime,
}

impl Rings {
    pub(super) fn new(failures: RingBuf<MapData>, events: RingBuf<MapData>) -> Self {
        Self { failures, events, wake: None, more: false, drained_at: 0 }
    }

    /// Hands at most `bound` events to `f` without waiting, failures first. Within `f`, the bytes are one event as its
    /// program wrote it; they are the ring's own memory and needn't be aligned.
    pub fn drain(&mut self, bound: usize, mut f: impl FnMut(Ring, &[u8])) -> Drained {
        let mut drained = Drained::default();
        loop {
            if drained.failures + drained.events >= bound {
                drained.more = true;
                break;
            }
            // Failures are looked at before each other event: they arrive while the rest is read.
            if let Some(item) = self.failures.next() {
                f(Ring::Failures, &item);
                drained.failures += 1;
            } else if let Some(item) = self.events.next() {
                f(Ring::Events, &item);
                drained.events += 1;
            } else {
                break;
            }
        }
        self.more = drained.more;
        if drained.failures + drained.events > 0 {
            self.drained_at = clock::monotonic_ns();
        }
        drained
    }

    /// Waits until a ring has something to [drain](Self::drain), and where that is soon after the last time a little longer: what
    /// comes meanwhile is drained, too, and wakes nobody. Cancelling it loses nothing. Needs a tokio runtime
    /// with IO. Events that a program submits without wake-up are found by the next drain only: drain on a timer too.
    ///
    /// # Errors
    /// Where the runtime can't register the rings.
    pub async fn ready(&mut self) -> io::Result<()> {
        if self.more {
            return Ok(());
        }
        if self.wake.is_none() {
            let register = |ring: &RingBuf<MapData>| -> io::Result<AsyncFd<OwnedFd>> {
                let fd = ring.as_fd().try_clone_to_owned()?;
                // SAFETY: the descriptor is owned by the `AsyncFd`, so it stays open and the same until it is dropped.
                unsafe { AsyncFd::register_with_interest(fd, tokio::io::Interest::READABLE) }.map_err(io::Error::from)
            };
            self.wake = Some([register(&self.failures)?, register(&self.events)?]);
        }
        let Some([failures, events]) = &self.wake else { return Ok(()) };
        // The kernel signals edges: clearing before draining means that what arrives in between signals again.
        tokio::select! {
            biased;
            guard = failures.readable() => guard?.clear_ready(),
            guard = events.readable() => guard?.clear_ready(),
        }
        let rest = (self.drained_at + GATHER_NS).saturating_sub(clock::monotonic_ns());
        if rest > 0 {
            tokio::time::sleep(Duration::from_nanos(rest)).await;
        }
        Ok(())
    }
}
