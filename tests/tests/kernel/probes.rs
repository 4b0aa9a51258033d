//! What the probes say of this kernel holds in both directions: what they say is there can be attached (all hooks are:
//! `lifecycle`), and what they say isn't there can't.

use aya::EbpfLoader;
use aya::programs::{ProgramError, RawTracePoint};
use tracer::kernel::btf::{KernelBtf, VMLINUX};
use tracer::kernel::features::Features;
use tracer::kernel::plan::{HOOKS, Kind};
use tracer::kernel::{object, offsets};
use tracer_common::ABI_VERSION;
use tracer_common::config::Config;
use zerocopy::IntoBytes;

use super::observer::observer;

/// Attaches one program to a tracepoint, made for a kernel whose tracepoints have these many arguments.
fn attach(program: &str, tracepoint: &str, kfree_skb_args: u32, send_reset_args: u32) -> Result<(), ProgramError> {
    let btf = KernelBtf::open(VMLINUX.as_ref()).unwrap();
    let (offsets, _) = offsets::resolve(&btf).unwrap();
    let config = Config {
        abi_version: ABI_VERSION,
        min_status: 500,
        all_requests: 0,
        kfree_skb_args,
        send_reset_args,
        mark_victim_task: Features::read(&btf).mark_victim_gives_task().into(),
        cpu_bits: 0,
        packet_pid_tgid: 0,
        packet_coarse_clock: 0,
        pid_namespace: 0,
    };
    let mut ebpf = EbpfLoader::new()
        .btf(None)
        .override_global("OFFSETS", offsets.as_bytes(), true)
        .override_global("CONFIG", config.as_bytes(), true)
        .load(object::OBJECT)
        .unwrap();
    let program: &mut RawTracePoint = ebpf.program_mut(program).unwrap().try_into().unwrap();
    program.load()?;
    program.attach(tracepoint).map(drop)
}

#[test]
fn a_tracepoint_that_is_said_to_be_absent() {
    let features = observer().features();
    let absent = HOOKS.iter().filter(|hook| hook.kind == Kind::RawTracepoint && features.arguments(hook.name) == 0);
    // On a kernel that has them all, one that none has.
    for name in absent.map(|hook| hook.name).chain(["tracer_none"]) {
        let program = if name == "tracer_none" { "tcp_receive_reset" } else { name };
        attach(program, name, 2, 2).expect_err(name);
    }
    attach("tcp_receive_reset", "tcp_receive_reset", 2, 2).unwrap();
}

#[test]
fn as_many_arguments_as_are_said() {
    let features = observer().features();
    for (name, read) in [("kfree_skb", 2..=4), ("tcp_send_reset", 2..=3)] {
        for count in read {
            let attached = attach(name, name, count, count);
            assert_eq!(attached.is_ok(), count <= features.arguments(name), "{name} of {count}: {attached:?}");
        }
    }
}

#[test]
fn reasons_where_an_argument_brings_them() {
    let features = observer().features();
    assert_eq!(features.drop_reasons.is_empty(), features.arguments("kfree_skb") < 3);
    assert_eq!(features.reset_reasons.is_empty(), features.arguments("tcp_send_reset") < 3);
}
