//! Programs that do nothing, at the packet hooks: what the kernel's calling them costs.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    path::Path,
};

use anyhow::{Context as _, Result};

/// Commands and numbers of `include/uapi/linux/bpf.h`.
const PROG_LOAD: i32 = 5;
const LINK_CREATE: i32 = 28;
const PROG_TYPE_CGROUP_SKB: u32 = 8;
/// `BPF_CGROUP_INET_INGRESS` and `_EGRESS`.
const DIRECTIONS: [u32; 2] = [0, 1];
/// `r0 = 1; exit`: allow.
const ALLOW: [u64; 2] = [0x1_0000_00b7, 0x95];

/// The beginning of `union bpf_attr` for [`PROG_LOAD`].
#[derive(Default)]
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    unused: [u32; 11],
    attach_type: u32,
}

/// The same for [`LINK_CREATE`].
#[repr(C)]
struct Link {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
}

/// Attached while it lives.
pub(crate) struct Empty {
    programs: Vec<OwnedFd>,
    _links: Vec<OwnedFd>,
}

impl Empty {
    pub(crate) fn attach(cgroup: &Path) -> Result<Self> {
        let target = File::open(cgroup)?;
        let mut empty = Self { programs: vec![], _links: vec![] };
        for attach_type in DIRECTIONS {
            let (instructions, license) = (ALLOW.as_ptr() as u64, c"GPL".as_ptr() as u64);
            let load =
                Load { kind: PROG_TYPE_CGROUP_SKB, count: 2, instructions, license, attach_type, ..Load::default() };
            let program = call(PROG_LOAD, &load).context("cannot load an empty program")?;
            let (number, target) = (program.as_raw_fd().cast_unsigned(), target.as_raw_fd().cast_unsigned());
            let link = Link { program: number, target, attach_type, flags: 0 };
            empty._links.push(call(LINK_CREATE, &link).context("cannot attach an empty program")?);
            empty.programs.push(program);
        }
        Ok(empty)
    }

    /// Mean time of a run, as the kernel's statistics read it.
    pub(crate) fn nanoseconds(&self) -> Result<f64> {
        let (mut runs, mut time) = (0.0, 0.0);
        for program in &self.programs {
            let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", program.as_raw_fd()))?;
            let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
            runs += field("run_cnt:").context("this kernel doesn't count runs")?;
            time += field("run_time_ns:").context("this kernel doesn't measure runs")?;
        }
        Ok(time / runs)
    }
}

fn call<T>(command: i32, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the attributes and what they point to outlive the call, which reads no more than their size.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    match i32::try_from(result) {
        // SAFETY: a new descriptor that nobody else owns.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
