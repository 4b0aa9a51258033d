//! When to end: the duration, a signal, or a reader that went away.

use std::future::pending;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ends a capture.
#[derive(Debug)]
pub struct Stop {
    duration: Option<Duration>,
    signals: [Signal; 2],
}

impl Stop {
    /// From here on SIGINT and SIGTERM end the capture instead of the process. Needs the runtime.
    ///
    /// # Errors
    /// Where the signals can't be handled.
    pub fn new(duration: Option<Duration>) -> io::Result<Self> {
        Ok(Self { duration, signals: [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?] })
    }

    /// Waits for the end. After a signal the next one ends the process at once: the kernel detaches the programs.
    pub(super) async fn requested(&mut self) {
        let timer = async {
            match self.duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => pending().await,
            }
        };
        let [interrupt, terminate] = &mut self.signals;
        tokio::select! {
            () = timer => return,
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        for number in [libc::SIGINT, libc::SIGTERM] {
            // SAFETY: the default action of these two; no handler of ours is needed after this.
            unsafe { libc::signal(number, libc::SIG_DFL) };
        }
    }
}

/// Whether nobody reads standard output any more.
pub(super) fn is_stdout_closed() -> bool {
    // Errors and hang-ups are always reported, nothing else is asked for.
    let mut poll = libc::pollfd { fd: io::stdout().as_raw_fd(), events: 0, revents: 0 };
    // SAFETY: one valid entry; doesn't wait.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
    ready > 0 && poll.revents & (libc::POLLERR | libc::POLLHUP) != 0
}
