//! The sink that `-o` asks for, on standard output.

use std::io::{self, IsTerminal};
use std::os::fd::AsRawFd;

use super::args::Output;
use crate::sink::Sink;
use crate::sink::json::Json;
use crate::sink::text::Text;

/// Colours only on a terminal, and not with `NO_COLOR`.
pub(super) fn sink(output: Output) -> Box<dyn Sink> {
    match output {
        Output::Json => Box::new(Json::new(io::stdout())),
        Output::Text => Box::new(Text::new(anstream::stdout(), columns())),
    }
}

/// Width of the terminal; none where standard output isn't one.
fn columns() -> Option<usize> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the request fills one `winsize`, which outlives the call.
    let done = unsafe { libc::ioctl(stdout.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    (done == 0 && size.ws_col > 0).then_some(size.ws_col.into())
}
