//! Processes that end, and the cgroups they live in.

use tracer_common::event::{Cgroup, Process as Wire, kind, process_kind};

use super::{DecodeError, prefix, text};
use crate::event::{Event, Process};

pub(super) fn event(bytes: &[u8]) -> Result<Event, DecodeError> {
    let wire: Wire = prefix(bytes)?;
    let oom_victim = wire.header.kind == kind::MARK_VICTIM;
    // As `wait(2)` gives it. A victim hasn't ended yet.
    let (signal, code) = (wire.exit_code & 0x7f, wire.exit_code >> 8 & 0xff);
    Ok(Event::Process(Process {
        cgroup: wire.cgroup_id,
        tgid: wire.actor.tgid,
        comm: text(&wire.comm),
        oom_victim,
        signal: (!oom_victim && signal != 0).then_some(signal),
        exit_code: (!oom_victim && signal == 0).then_some(code),
        served: wire.kind & process_kind::SERVED != 0,
    }))
}

/// A cgroup that is made tells its path; one that is removed tells it a last time, for those made before the tracer.
pub(super) fn cgroup(bytes: &[u8]) -> Result<Event, DecodeError> {
    let wire: Cgroup = prefix(bytes)?;
    Ok(Event::Cgroup { id: wire.cgroup_id, path: text(&wire.path) })
}
