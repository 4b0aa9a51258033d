//! HTTP exchanges, as one end of their connection saw them.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{Actor, ConnId, Ktime};

/// A connection without a request for so long was kept, not refused: keep-alive timeouts are seconds.
const IDLE_NS: Ktime = 1_000_000_000;

/// Which end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Client,
    Server,
}

impl Role {
    /// `error.type` of an answer by OpenTelemetry's conventions, on metrics and spans alike: the status, where it is a failure
    /// to this end. A server may answer with any three digits: those that no class of HTTP has are one.
    pub fn error_type(self, status: u16) -> Option<String> {
        let failure = if self == Self::Server { 500 } else { 400 };
        match status {
            600.. => Some("_OTHER".to_owned()),
            status => (status >= failure).then(|| status.to_string()),
        }
    }
}

/// How an exchange ended, or hasn't.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Status(u16),
    /// The connection ended first.
    Unanswered,
    /// Still waiting when it was looked at.
    Open,
}

/// How the exchange came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seen {
    /// Its own event.
    Event,
    /// The flight recorder: it went well.
    Flight,
    /// A look at the open requests.
    Open,
}

/// The parts of a request head that are kept. Query strings and header values other than ids are not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestHead {
    pub method: String,
    /// Path without query, at most 128 bytes.
    pub path: String,
    /// Lower-case header name and id, of the known id headers.
    pub ids: Vec<(String, String)>,
    pub upgrade: bool,
    /// FNV-1a of method, target with query, and version: tells the same request at both ends under masquerade.
    pub line_hash: u64,
}

/// The parts of a response head that are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponseHead {
    pub server: Option<String>,
    pub retry_after: Option<String>,
    pub content_length: Option<u64>,
    pub rate_limit: bool,
}

/// One request and what became of it, at one end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    pub seen: Seen,
    pub role: Role,
    pub conn: ConnId,
    pub cgroup: u64,
    pub netns: u32,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub nat_remote: Option<SocketAddr>,
    /// Who connected (client side).
    pub connector: Option<Actor>,
    pub comm: String,
    pub established_ns: Ktime,
    /// The request's first byte.
    pub start_ns: Ktime,
    /// When a thread read it (server side).
    pub read_ns: Option<Ktime>,
    /// The status line, or the connection's end; for an open one, when it was looked at.
    pub end_ns: Ktime,
    /// Who sent it (client) or read it (server).
    pub actor: Option<Actor>,
    /// Who sent the response (server).
    pub responder: Option<Actor>,
    pub seq: u32,
    pub ack: u32,
    /// Number on its connection, from 0.
    pub number: u32,
    /// First on a connection whose beginning was seen.
    pub first: bool,
    pub outcome: Outcome,
    pub request: Option<RequestHead>,
    pub response: Option<ResponseHead>,
    pub truncated: bool,
    pub reset_received: bool,
    pub reset_sent: bool,
    pub local_closed_first: bool,
    pub remote_closed_first: bool,
    /// No request had reached the end that closed first without being answered.
    #[serde(default)]
    pub closed_idle: bool,
    /// The status of an answer that broke off: it counts as none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<u16>,
    /// When the connection began to close, 0 if it didn't.
    pub closing_ns: Ktime,
    pub retransmits: u32,
}

impl Exchange {
    /// The same at both ends of the hop, also on two nodes and through destination NAT: the client's address and port,
    /// and the sequence number of the request's first byte.
    pub fn hop_key(&self) -> (SocketAddr, u32) {
        match self.role {
            Role::Client => (self.local, self.seq),
            Role::Server => (self.remote, self.seq),
        }
    }

    /// The same at both ends of a hop, whatever becomes of the client's address on the way: sequence and acknowledgement
    /// number of the request's first byte, and its line.
    pub fn head_key(&self) -> Option<(u32, u32, u64)> {
        self.request.as_ref().map(|head| (self.seq, self.ack, head.line_hash))
    }

    /// The server had closed the idle connection before this request reached it.
    pub fn met_a_closing_server(&self) -> bool {
        let server_closed_first = match self.role {
            Role::Client => self.remote_closed_first,
            Role::Server => self.local_closed_first,
        };
        // A fresh connection that is closed at once was refused, not idle. One whose beginning wasn't seen isn't fresh.
        let idled = self.closing_ns.saturating_sub(self.established_ns) >= IDLE_NS;
        self.outcome == Outcome::Unanswered && self.closed_idle && server_closed_first && (self.number > 0 || idled)
    }

    /// [`Self::hop_key`] as incidents carry it.
    pub fn hop_name(&self) -> String {
        let (client, sequence) = self.hop_key();
        format!("{client}#{sequence:08x}")
    }

    /// A failing status, or none.
    pub fn failed(&self, min_status: u16) -> bool {
        match self.outcome {
            Outcome::Status(status) => status >= min_status,
            Outcome::Unanswered => true,
            Outcome::Open => false,
        }
    }

    /// What came in place of an answer: `error.type` by OpenTelemetry's conventions, on metrics and spans alike.
    pub fn silence(&self) -> &'static str {
        if self.reset_received || self.reset_sent { "connection_reset" } else { "no_response" }
    }

    pub fn status(&self) -> Option<u16> {
        match self.outcome {
            Outcome::Status(status) => Some(status),
            Outcome::Unanswered | Outcome::Open => None,
        }
    }
}
