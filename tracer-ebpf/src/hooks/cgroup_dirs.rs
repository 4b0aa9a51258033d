//! `raw_tp/cgroup_mkdir(cgrp, path)` and `cgroup_rmdir(cgrp, path)`: containers that come and go, without races.

use aya_ebpf::{helpers::generated::bpf_probe_read_kernel_str, macros::raw_tracepoint, programs::RawTracePointContext};
use tracer_common::{
    event::{Cgroup, kind},
    limits::CGROUP_PATH,
};

use crate::{
    emit::{self, Ring},
    kernel,
};

#[raw_tracepoint(tracepoint = "cgroup_mkdir")]
pub fn cgroup_mkdir(ctx: RawTracePointContext) -> i32 {
    directory(&ctx, kind::CGROUP_MKDIR)
}

#[raw_tracepoint(tracepoint = "cgroup_rmdir")]
pub fn cgroup_rmdir(ctx: RawTracePointContext) -> i32 {
    directory(&ctx, kind::CGROUP_RMDIR)
}

#[inline(always)]
fn directory(ctx: &RawTracePointContext, event_kind: u16) -> i32 {
    let cgroup: u64 = ctx.arg(0);
    let path: u64 = ctx.arg(1);
    // Each hierarchy numbers its directories by itself.
    if !kernel::is_cgroup2(cgroup) {
        return 0;
    }
    let Some(mut entry) = emit::reserve::<Cgroup>(Ring::Events, event_kind) else { return 0 };
    // SAFETY: reserved ring memory of that size; the helper checks the path's address.
    unsafe {
        let event: &mut Cgroup = &mut *core::mem::MaybeUninit::as_mut_ptr(&mut entry);
        event.header = emit::header::<Cgroup>(event_kind);
        event.cgroup_id = kernel::cgroup_id(cgroup);
        event.path = [0; CGROUP_PATH];
        bpf_probe_read_kernel_str(event.path.as_mut_ptr().cast(), CGROUP_PATH as u32, path as *const _);
    }
    entry.submit(0);
    0
}
