//! SYNs that no SYN-ACK followed.

use tracer_common::event::PendingSyn;

use super::address;
use crate::event::{Event, Ktime, Record, UnansweredSyn};

/// A SYN without a SYN-ACK, as the sweep at `at` found it.
pub fn unanswered_syn(pending: &PendingSyn, at: Ktime) -> Record {
    let PendingSyn { start_ns, cgroup_id, tuple, syns, accept_queue, accept_queue_max, syn_queue } = pending;
    let event = Event::UnansweredSyn(UnansweredSyn {
        cgroup: *cgroup_id,
        netns: tuple.netns,
        local: address(tuple.local, tuple.local_port),
        remote: address(tuple.remote, tuple.remote_port),
        start_ns: *start_ns,
        syns: *syns,
        accept_queue: *accept_queue,
        accept_queue_max: *accept_queue_max,
        syn_queue: *syn_queue,
    });
    Record { at, event }
}
