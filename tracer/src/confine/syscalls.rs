//! System calls that nobody here makes, and an intruder would.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter_all_threads,
};

use super::ConfineError;

/// They run programs, look into or steer processes, change the machine, or reach files around every rule.
const NEVER: &[libc::c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_open_by_handle_at,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_userfaultfd,
    libc::SYS_perf_event_open,
    libc::SYS_io_uring_setup,
    libc::SYS_memfd_create,
];

/// Commands of `bpf(2)` that make or attach something (`enum bpf_cmd` of `linux/bpf.h`): everything is there already.
const BPF_NEVER: &[(&str, u64)] = &[
    ("MAP_CREATE", 0),
    ("PROG_LOAD", 5),
    ("OBJ_PIN", 6),
    ("PROG_ATTACH", 8),
    ("PROG_TEST_RUN", 10),
    ("PROG_GET_FD_BY_ID", 13),
    ("MAP_GET_FD_BY_ID", 14),
    ("RAW_TRACEPOINT_OPEN", 17),
    ("BTF_LOAD", 18),
    ("LINK_CREATE", 28),
    ("LINK_UPDATE", 29),
];

/// From here on these fail with EPERM in every thread of this process.
///
/// # Errors
/// Where the kernel refuses, or on a processor that there is no filter for.
pub fn restrict_system_calls() -> Result<(), ConfineError> {
    let failed = |error: &dyn std::fmt::Display| ConfineError::new("restrict system calls", error);
    let program = filter().map_err(|error| failed(&error))?;
    // Sets no_new_privs, without which an unprivileged thread may not filter.
    apply_filter_all_threads(&program).map_err(|error| failed(&error))
}

fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let command = |(_, number): &(&str, u64)| {
        let condition = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, *number)?;
        SeccompRule::new(vec![condition])
    };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = NEVER.iter().map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_bpf, BPF_NEVER.iter().map(command).collect::<Result<_, _>>()?);
    let eperm = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, SeccompAction::Allow, eperm, arch)?.try_into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_cannot_be_run_and_files_can_be_read() {
        let program = filter().unwrap();
        std::thread::scope(|scope| {
            let filtered = scope.spawn(|| {
                // This thread only: the other tests go on.
                seccompiler::apply_filter(&program).unwrap();
                let refused = std::process::Command::new("/bin/true").status().unwrap_err();
                assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
                std::fs::read("/proc/self/status").unwrap();
                // SAFETY: a command that the filter refuses before the kernel looks at the pointer.
                let loaded = unsafe { libc::syscall(libc::SYS_bpf, 5, std::ptr::null::<u8>(), 0) };
                assert_eq!((loaded, std::io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EPERM)));
                // SAFETY: as above, with a command that it admits and the kernel refuses for its size.
                let looked = unsafe { libc::syscall(libc::SYS_bpf, 1, std::ptr::null::<u8>(), 0) };
                assert_ne!((looked, std::io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EPERM)));
            });
            filtered.join().unwrap();
        });
    }
}
