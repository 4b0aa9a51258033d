//! Loads and attaches one program at a time; an optional one that fails is noted, not fatal.

use std::fs::File;
use std::time::Duration;

use aya::Ebpf;
use aya::programs::{
    CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, CgroupSockAddr, Program, ProgramError, ProgramInfo, RawTracePoint,
};

use super::existing;
use super::plan::{HOOKS, Hook, Kind, Plan, Skipped};
use super::start::StartError;

/// One program, for the coverage line and for measuring our own cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramStatus {
    pub name: &'static str,
    pub loaded: bool,
    pub attached: bool,
    /// Runs and time in them; zero unless `kernel.bpf_stats_enabled` is set.
    pub run_count: u64,
    pub run_time: Duration,
}

/// Attaches what the plan says; moves the optional hooks that fail to its skipped ones.
pub(super) fn attach(ebpf: &mut Ebpf, plan: &mut Plan, cgroup: &File) -> Result<(), StartError> {
    let mut attached = Vec::with_capacity(plan.attach.len());
    for hook in std::mem::take(&mut plan.attach) {
        match attach_one(ebpf, hook, cgroup) {
            Ok(()) => attached.push(hook),
            Err(error) if hook.essential => return Err(explain(hook, error)),
            Err(error) => plan.skipped.push(Skipped { hook, reason: explain(hook, error).to_string() }),
        }
    }
    plan.attach = attached;
    Ok(())
}

/// Loads every program of the plan before anything is attached: a program that the verifier refuses must not leave the
/// others running for the seconds that it takes to say so.
pub(super) fn load(ebpf: &mut Ebpf, plan: &mut Plan) -> Result<(), StartError> {
    let mut loaded = Vec::with_capacity(plan.attach.len());
    for hook in std::mem::take(&mut plan.attach) {
        match load_one(ebpf, hook) {
            Ok(()) => loaded.push(hook),
            Err(error) if hook.essential => return Err(explain(hook, error)),
            Err(error) => plan.skipped.push(Skipped { hook, reason: explain(hook, error).to_string() }),
        }
    }
    plan.attach = loaded;
    Ok(())
}

/// State of every program of the plan's table.
pub(super) fn status(ebpf: &Ebpf, plan: &Plan) -> Vec<ProgramStatus> {
    HOOKS
        .iter()
        .map(|hook| {
            let info = ebpf.program(hook.name).and_then(|program| program.info().ok());
            ProgramStatus {
                name: hook.name,
                loaded: info.is_some(),
                attached: plan.attach.iter().any(|attached| attached.name == hook.name),
                run_count: info.as_ref().map_or(0, ProgramInfo::run_count),
                run_time: info.as_ref().map_or(Duration::ZERO, ProgramInfo::run_time),
            }
        })
        .collect()
}

fn load_one(ebpf: &mut Ebpf, hook: &Hook) -> Result<(), ProgramError> {
    match hook.kind {
        Kind::CgroupSkbIngress | Kind::CgroupSkbEgress => program::<&mut CgroupSkb>(ebpf, hook)?.load(),
        Kind::CgroupSockAddr => program::<&mut CgroupSockAddr>(ebpf, hook)?.load(),
        Kind::RawTracepoint => program::<&mut RawTracePoint>(ebpf, hook)?.load(),
        Kind::Iterator => existing::load(program(ebpf, hook)?, hook.name),
    }
}

fn attach_one(ebpf: &mut Ebpf, hook: &Hook, cgroup: &File) -> Result<(), ProgramError> {
    // `Single` is flags 0, the only ones that links accept on every kernel; a cgroup link is always one of many.
    let mode = CgroupAttachMode::Single;
    match hook.kind {
        Kind::CgroupSkbIngress => {
            program::<&mut CgroupSkb>(ebpf, hook)?.attach(cgroup, CgroupSkbAttachType::Ingress, mode).map(drop)
        }
        Kind::CgroupSkbEgress => {
            program::<&mut CgroupSkb>(ebpf, hook)?.attach(cgroup, CgroupSkbAttachType::Egress, mode).map(drop)
        }
        Kind::CgroupSockAddr => program::<&mut CgroupSockAddr>(ebpf, hook)?.attach(cgroup, mode).map(drop),
        Kind::RawTracepoint => program::<&mut RawTracePoint>(ebpf, hook)?.attach(hook.name).map(drop),
        Kind::Iterator => existing::take_over(program(ebpf, hook)?),
    }
}

fn program<'a, P>(ebpf: &'a mut Ebpf, hook: &Hook) -> Result<P, ProgramError>
where
    P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    ebpf.program_mut(hook.name).ok_or_else(|| ProgramError::InvalidName { name: hook.name.to_owned() })?.try_into()
}

/// Says what a refusal means.
fn explain(hook: &Hook, error: ProgramError) -> StartError {
    let (reason, remedy) = match &error {
        ProgramError::LoadError { io_error, verifier_log } => {
            // The verdict stands in the last lines; the whole log is for `TRACER_LOG=debug`.
            let log = verifier_log.to_string();
            tracing::debug!(program = hook.name, log, "the verifier refused the program");
            let mut last: Vec<&str> = log.lines().rev().filter(|line| !line.trim().is_empty()).take(4).collect();
            last.reverse();
            let remedy = "please report it with the kernel's release and the output of `TRACER_LOG=debug tracer capture --duration 1s`";
            (format!("{io_error}: {}", last.join(" / ")), remedy)
        }
        ProgramError::SyscallError(inner)
            if inner.io_error.raw_os_error() == Some(libc::EPERM) && hook.kind.by_cgroup() =>
        {
            (
                inner.io_error.to_string(),
                "another program holds this cgroup's hook alone (attached without BPF_F_ALLOW_MULTI: see `bpftool cgroup tree`), \
             or CAP_NET_ADMIN is missing",
            )
        }
        ProgramError::SyscallError(inner) => {
            (format!("{}: {}", inner.call, inner.io_error), "run `tracer doctor` to see what this kernel lacks")
        }
        ProgramError::InvalidName { .. } => (
            "the object has no such program".to_owned(),
            "rebuild the binary and its kernel programs from the same sources",
        ),
        other => (other.to_string(), "run `tracer doctor` to see what this kernel lacks"),
    };
    StartError::Program { name: hook.name, reason, remedy }
}
