//! One line on a terminal's standard error: how long, how much, how many failures. It makes way for results.

use std::io::{self, IsTerminal, Write};

/// The line; silent where standard error is no terminal.
#[derive(Debug)]
pub(super) struct Progress {
    visible: bool,
    shown: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { visible: io::stderr().is_terminal(), shown: false }
    }

    /// Whether anybody looks: counting costs something.
    pub(super) fn is_visible(&self) -> bool {
        self.visible
    }

    /// Tells a person that observation has begun.
    pub(super) fn begin(&mut self, hooks: usize, cgroup: Option<&str>) {
        if self.visible {
            let what = cgroup.map_or("this node", |_| "the cgroup");
            let below = cgroup.map(crate::sink::escape::escape).unwrap_or_default();
            let _ignored = writeln!(io::stderr(), "observing {what} {below} with {hooks} hooks");
        }
    }

    pub(super) fn show(&mut self, elapsed_s: u64, requests: u64, failures: u64) {
        if self.visible {
            let (minutes, seconds) = (elapsed_s / 60, elapsed_s % 60);
            // A terminal that can't be written to is not worth failing for.
            let _ignored = write!(
                io::stderr(),
                "\r\x1b[2K{minutes:02}:{seconds:02}  {requests} requests  {failures} failed  (Ctrl-C ends)"
            );
            self.shown = true;
        }
    }

    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ignored = write!(io::stderr(), "\r\x1b[2K");
        }
    }
}
