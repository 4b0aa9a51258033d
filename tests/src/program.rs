//! eBPF programs of a few instructions at a cgroup, by plain `bpf(2)`: a library would want an object file.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::Path;

/// Commands and numbers of `include/uapi/linux/bpf.h`.
const PROG_LOAD: i32 = 5;
const LINK_CREATE: i32 = 28;

/// Where a program may be attached: `enum bpf_prog_type`, `enum bpf_attach_type`.
#[derive(Clone, Copy)]
pub enum Hook {
    /// Packets that arrive.
    Ingress,
    /// Packets that leave.
    Egress,
    /// `connect` to IPv4 addresses.
    Connect4,
}

impl Hook {
    fn numbers(self) -> (u32, u32) {
        match self {
            Self::Ingress => (8, 0),
            Self::Egress => (8, 1),
            Self::Connect4 => (18, 10),
        }
    }
}

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
pub struct Program {
    pub fd: OwnedFd,
    _link: OwnedFd,
}

impl Program {
    /// Attaches these instructions to a cgroup.
    ///
    /// # Errors
    /// What the kernel says: `EACCES` of instructions that it doesn't accept, `EPERM` without privileges.
    pub fn attach(hook: Hook, instructions: &[u64], cgroup: &Path) -> io::Result<Self> {
        let (kind, attach_type) = hook.numbers();
        let (count, license) = (u32::try_from(instructions.len()).map_err(io::Error::other)?, c"GPL".as_ptr() as u64);
        let instructions = instructions.as_ptr() as u64;
        let fd = call(PROG_LOAD, &Load { kind, count, instructions, license, attach_type, ..Load::default() })?;
        let target = File::open(cgroup)?;
        let (program, target) = (fd.as_raw_fd().cast_unsigned(), target.as_raw_fd().cast_unsigned());
        let link = call(LINK_CREATE, &Link { program, target, attach_type, flags: 0 })?;
        Ok(Self { fd, _link: link })
    }
}

fn call<T>(command: i32, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the attributes and what they point to outlive the call, which reads no more than their size.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    match i32::try_from(result) {
        // SAFETY: a new descriptor that nobody else owns.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
