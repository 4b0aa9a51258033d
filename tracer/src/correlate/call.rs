//! What a container did while it served a request: the things that may have failed it.

use std::net::SocketAddr;

use super::lookup::Lookup;
use crate::event::{Actor, Connect, ConnectAttempt, Exchange, Ktime, Outcome, Signal};

/// One outbound act of a container.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Call {
    Exchange(Exchange),
    Connect(Connect),
    Attempt(Ktime, ConnectAttempt),
    /// A connection without HTTP that ended badly.
    End(Ktime, Signal),
    Lookup(Lookup),
}

impl Call {
    pub(crate) fn start(&self) -> Ktime {
        match self {
            Self::Exchange(x) => x.start_ns,
            Self::Connect(x) => x.start_ns,
            Self::Attempt(_, x) => x.start_ns,
            Self::End(at, x) => {
                if x.established_ns == 0 {
                    *at
                } else {
                    x.established_ns
                }
            }
            Self::Lookup(x) => x.start_ns,
        }
    }

    pub(crate) fn end(&self) -> Ktime {
        match self {
            Self::Exchange(x) => x.end_ns,
            Self::Connect(x) => x.end_ns,
            Self::Attempt(_, x) => x.start_ns,
            Self::End(at, _) => *at,
            Self::Lookup(x) => x.end_ns,
        }
    }

    pub(crate) fn cgroup(&self) -> u64 {
        match self {
            Self::Exchange(x) => x.cgroup,
            Self::Connect(x) => x.cgroup,
            Self::Attempt(_, x) => x.cgroup,
            Self::End(_, x) => x.cgroup,
            Self::Lookup(x) => x.cgroup,
        }
    }

    /// Where it went, as the caller knows it.
    pub(crate) fn remote(&self) -> SocketAddr {
        match self {
            Self::Exchange(x) => x.remote,
            Self::Connect(x) => x.remote,
            Self::Attempt(_, x) => x.remote,
            Self::End(_, x) => x.remote,
            Self::Lookup(x) => x.resolver,
        }
    }

    /// The thread that did it, where known: for the first exchange of a connection the one that connected.
    pub(crate) fn actor(&self) -> Option<Actor> {
        match self {
            Self::Exchange(x) if x.first => x.connector.or(x.actor),
            Self::Exchange(x) => x.actor,
            Self::Connect(x) => Some(x.actor),
            Self::Attempt(_, x) => Some(x.actor),
            // Whose request a later use of the connection was isn't known; its handshake is the connector's.
            Self::End(_, x) if x.handshake_failure().is_some() => x.connector,
            Self::End(..) => None,
            Self::Lookup(x) => Some(x.actor),
        }
        .filter(|actor| actor.tid != 0)
    }

    /// When the thread did it.
    pub(crate) fn acted_at(&self) -> Ktime {
        match self {
            Self::Exchange(x) if x.first && x.conn.born_ns != 0 => x.conn.born_ns.min(x.start_ns),
            _ => self.start(),
        }
    }

    /// The ids that it carried.
    pub(crate) fn ids(&self) -> &[(String, String)] {
        match self {
            Self::Exchange(x) => x.request.as_ref().map_or(&[], |head| &head.ids),
            _ => &[],
        }
    }

    /// Whether it had failed by `t`, or was still waiting then.
    pub(crate) fn standing(&self, t: Ktime, min_status: u16) -> Standing {
        let ended = self.end() <= t;
        match self {
            Self::Exchange(x) => match x.outcome {
                Outcome::Open => Standing::Pending,
                _ if !ended => Standing::Pending,
                _ if x.failed(min_status) => Standing::Failed,
                _ => Standing::Well,
            },
            Self::Connect(x) if x.open || !ended => Standing::Pending,
            Self::Connect(_) | Self::Attempt(..) | Self::End(..) => Standing::Failed,
            Self::Lookup(x) if x.failed() => Standing::Failed,
            Self::Lookup(_) => Standing::Well,
        }
    }
}

/// How a call stood at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Failed,
    Pending,
    Well,
}
