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
    /// A signal has come.
    asked: bool,
}

impl Stop {
    /// From here on SIGINT and SIGTERM end the capture instead of the process. Needs the runtime.
    ///
    /// # Errors
    /// Where the signals can't be handled.
    pub fn new(duration: Option<Duration>) -> io::Result<Self> {
        let signals = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
        Ok(Self { duration, signals, asked: false })
    }

    /// What comes of something that is waited for; nothing once a signal came.
    pub async fn unless_asked<T>(&mut self, wait: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            came = wait => Some(came),
            () = self.asked() => None,
        }
    }

    /// Waits for the end.
    pub(super) async fn requested(&mut self) {
        let duration = self.duration;
        let timer = async {
            match duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = timer => {}
            () = self.asked() => {}
        }
    }

    /// Waits for a signal. After one the next ends the process at once: the kernel detaches the programs.
    async fn asked(&mut self) {
        if self.asked {
            return;
        }
        let [interrupt, terminate] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        self.asked = true;
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
