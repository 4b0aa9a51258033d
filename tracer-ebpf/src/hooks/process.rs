//! `raw_tp/mark_victim(task, uid)` (a pid on 6.5) and `raw_tp/sched_process_exit(task)`.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use tracer_common::{
    Actor,
    event::{Process, kind, process_kind},
};

use crate::{
    emit::{self, Ring},
    globals::{config, offset},
    kernel::{self, read_or_zero},
    maps::SERVED,
};

#[raw_tracepoint(tracepoint = "mark_victim")]
pub fn mark_victim(ctx: RawTracePointContext) -> i32 {
    let mut event = Process {
        header: emit::header::<Process>(kind::MARK_VICTIM),
        cgroup_id: 0,
        actor: Actor::default(),
        comm: [0; 16],
        exit_code: 0,
        kind: 0,
    };
    if config!(mark_victim_task) != 0 {
        let task: u64 = ctx.arg(0);
        event.cgroup_id = kernel::task_cgroup(task);
        event.actor = kernel::task_actor(task);
        event.comm = kernel::task_comm(task);
    } else if config!(pid_namespace) == 0 {
        event.actor.tgid = ctx.arg(0);
    }
    if SERVED.get_ptr(event.actor.tgid).is_some() {
        event.kind = process_kind::SERVED;
    }
    emit::emit(Ring::Failures, event);
    0
}

#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn sched_process_exit(ctx: RawTracePointContext) -> i32 {
    let task: u64 = ctx.arg(0);
    let actor = kernel::task_actor(task);
    // Once per process: the leader's exit carries the group's code.
    if actor.tgid != actor.tid {
        return 0;
    }
    let exit_code: u32 = read_or_zero(task, offset!(task_exit_code));
    let served = SERVED.get_ptr(actor.tgid).is_some();
    if exit_code == 0 && !served {
        return 0;
    }
    let ring = if served || exit_code & 0x7f != 0 { Ring::Failures } else { Ring::Events };
    emit::emit(
        ring,
        Process {
            header: emit::header::<Process>(kind::SCHED_PROCESS_EXIT),
            cgroup_id: kernel::task_cgroup(task),
            actor,
            comm: kernel::task_comm(task),
            exit_code,
            kind: if served { process_kind::SERVED } else { 0 },
        },
    );
    if served {
        let _ = SERVED.remove(actor.tgid);
    }
    0
}
