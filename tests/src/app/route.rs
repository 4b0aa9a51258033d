//! What a server does for a path, as data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Path to behaviour; a path that isn't there is that of `*`, or answered with 404.
pub type Routes = BTreeMap<String, Route>;

/// One path: the calls are made in order, then come the delay, CPU time, the file, then the misbehaviour or the
/// answer.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    #[serde(default = "status_ok")]
    pub status: u16,
    #[serde(default)]
    pub body: String,
    #[serde(default)]
    pub delay_ms: u64,
    /// CPU time used after the calls, in this thread.
    #[serde(default)]
    pub burn_ms: u64,
    /// A file that is written to after the calls; if that fails, the answer is 500.
    #[serde(default)]
    pub write: Option<std::path::PathBuf>,
    /// Printed to the standard error before the answer.
    #[serde(default)]
    pub log: Option<String>,
    #[serde(default)]
    pub calls: Vec<Call>,
    #[serde(default)]
    pub misbehave: Option<Misbehave>,
    /// Every so manieth request of the process is answered with 503, the first one too.
    #[serde(default)]
    pub fail_every: u32,
    /// Response headers besides the framing.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

impl Default for Route {
    fn default() -> Self {
        Self {
            status: 200,
            body: String::new(),
            delay_ms: 0,
            calls: vec![],
            misbehave: None,
            fail_every: 0,
            burn_ms: 0,
            write: None,
            log: None,
            headers: BTreeMap::new(),
        }
    }
}

/// How a server fails other than by a status.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Misbehave {
    /// Die by SIGABRT with the request in flight.
    Abort,
    /// Leave with exit code 3 with the request in flight.
    Exit,
    /// Allocate until the memory limit kills the process.
    Oom,
    /// Close the connection without an answer.
    Close,
    /// Reset the connection without an answer.
    Reset,
    /// Never answer.
    Hang,
    /// Send the head and half of the body, then close the connection.
    Cut,
    /// The same, then reset it.
    CutReset,
    /// The same, then nothing any more.
    Stall,
    /// Wait until the caller has left, then answer 500, as what is cancelled does.
    Cancelled,
}

/// One call a request makes before it is answered.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// `http://host[:port]/path`, or `tcp://host:port[/COMMAND]` for a redis-like PING or COMMAND, or
    /// `line://host:port` for a line that nobody answers.
    pub url: String,
    /// Only when the request's query contains this `key=value`.
    #[serde(default)]
    pub when: Option<String>,
    #[serde(default = "one_second")]
    pub connect_timeout_ms: u64,
    #[serde(default = "two_seconds")]
    pub read_timeout_ms: u64,
    /// The status a failed call turns into; 0 ignores the failure.
    #[serde(default = "status_error")]
    pub on_failure: u16,
    #[serde(default)]
    pub retries: u32,
    #[serde(default = "yes")]
    pub forward_ids: bool,
    /// Keep the connection for the next call.
    #[serde(default)]
    pub keep_alive: bool,
    /// Replace a kept connection that turns out to be stale, as most clients do.
    #[serde(default = "yes")]
    pub replace_stale: bool,
    /// Sent before all other calls, and let go of unread once these are done: as what is called at once and cancelled.
    #[serde(default)]
    pub beside: bool,
    /// How long the connection of a call that failed stays open, as where another thread tidies up.
    #[serde(default)]
    pub linger_ms: u64,
    /// How long after its failure the request is answered; what is called beside it is let go of before.
    #[serde(default)]
    pub answer_after_ms: u64,
}

impl Call {
    #[must_use]
    pub fn applies(&self, query: &str) -> bool {
        self.when.as_ref().is_none_or(|when| query.split('&').any(|pair| pair == when))
    }
}

fn status_ok() -> u16 {
    200
}
fn status_error() -> u16 {
    500
}
fn one_second() -> u64 {
    1000
}
fn two_seconds() -> u64 {
    2000
}
fn yes() -> bool {
    true
}
