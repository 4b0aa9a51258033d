//! Connections without HTTP that brought nothing. Much is spoken one way only (metrics, logs), so that alone is no failure:
//! somebody has to have waited, for a place that is seen to answer.

use super::{Correlator, symptom::GAVE_UP_NS};
use crate::event::{Ktime, Signal, SignalKind};

/// `ETIMEDOUT`: the peer acknowledged nothing any more.
const TIMED_OUT: u32 = 110;

/// Whether somebody waited for an answer that didn't come, as far as the connection's end tells. `used_ns`: when it was last
/// used, or else made.
pub(super) fn was_waited_for(end: &Signal, at: Ktime, used_ns: Ktime) -> bool {
    end.signal == SignalKind::ConnectionEnd
        // The peer's FIN counts as one.
        && end.bytes_received <= 1
        && (was_lost(end) || at.saturating_sub(used_ns) >= GAVE_UP_NS)
}

fn was_lost(end: &Signal) -> bool {
    end.error == TIMED_OUT && !end.local_closed_first
}

impl Correlator {
    /// Whether a connection's end may have failed whoever made it.
    pub(super) fn is_failed_end(&self, at: Ktime, end: &Signal) -> bool {
        if end.is_broken_end() || end.handshake_failure().is_some() {
            return true;
        }
        let opaque = &self.window.opaque;
        let container = self.identity.container_key(end.cgroup);
        let used_ns = end.conn.and_then(|conn| opaque.last_used(container, conn)).unwrap_or(end.established_ns);
        // Who begins a TLS handshake wants an answer, whatever comes after it.
        let answers = || was_lost(end) || end.tls.is_some() || opaque.answers(end.remote);
        was_waited_for(end, at, used_ns) && answers()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{correlate::Options, event::OpaqueConnection, k8s::snapshot::Snapshot};

    const SECOND_NS: u64 = 1_000_000_000;
    const AT: u64 = 100 * SECOND_NS;

    /// Established 10 s before its end, by whoever closed it.
    fn end() -> Signal {
        serde_json::from_value(json!({
            "signal": "connection-end", "conn": {"sock": 1, "born_ns": 1}, "cgroup": 7, "netns": 1,
            "local": "10.0.0.1:1024", "remote": "10.0.0.2:2003", "actor": {"tgid": 1, "tid": 1}, "comm": "", "state": 7,
            "error": 0, "reason": null, "no_socket": false, "protocol": 6, "bytes_acked": 102, "bytes_received": 0,
            "established_ns": AT - 10 * SECOND_NS, "reset_received": false, "client": true, "local_closed_first": true
        }))
        .unwrap()
    }

    fn used(sock: u64, last_ns: Ktime, answered: bool) -> OpaqueConnection {
        serde_json::from_value(json!({
            "conn": {"sock": sock, "born_ns": 1}, "cgroup": 7, "netns": 1, "local": "10.0.0.1:1024",
            "remote": "10.0.0.2:2003", "connector": null, "tls": false, "start_ns": 1, "last_ns": last_ns,
            "answered": answered
        }))
        .unwrap()
    }

    #[test]
    fn what_is_spoken_one_way_waits_for_nothing() {
        let mut core = Correlator::new(Options::everything(), Snapshot::default());
        assert!(!core.is_failed_end(AT, &end()), "nobody was answered there");
        let lost = Signal { error: TIMED_OUT, local_closed_first: false, ..end() };
        assert!(core.is_failed_end(AT, &lost));
        assert!(core.is_failed_end(AT, &Signal { tls: Some(crate::event::Tls::default()), ..end() }));
        core.window.opaque.add(8, used(2, AT, true));
        assert!(core.is_failed_end(AT, &end()));
        assert!(core.is_failed_end(AT, &Signal { bytes_received: 1, ..end() }), "the FIN");
        assert!(!core.is_failed_end(AT, &Signal { bytes_received: 7, ..end() }));
        assert!(!core.is_failed_end(AT - 9_500_000_000, &end()), "closed at once");
        let container = core.identity.container_key(7);
        core.window.opaque.add(container, used(1, AT - SECOND_NS / 2, false));
        assert!(!core.is_failed_end(AT, &end()), "closed soon after it was sent to");
        core.window.opaque.expire(AT + 1);
        assert!(!core.is_failed_end(AT, &end()), "its answers are long ago");
    }
}
