//! Running commands: checked, bounded, and inside the namespaces and cgroups of the cluster.

use std::{
    ffi::CString,
    fs::File,
    io::Write as _,
    os::{
        fd::{AsRawFd as _, RawFd},
        unix::process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sched::{CloneFlags, setns, unshare},
    sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask},
    unistd::Pid,
};

/// No command of a test takes longer.
const LONGEST: Duration = Duration::from_secs(100);

/// Where a command runs.
#[derive(Debug, Default)]
pub struct Place {
    pub network: Option<File>,
    pub mount: Option<File>,
    /// Make new network and mount namespaces, with these files bound over those of the machine.
    pub fresh: Option<Vec<(PathBuf, PathBuf)>>,
    /// `cgroup.procs` files to enter before the program starts, so that its sockets belong to the cgroup.
    pub cgroups: Vec<PathBuf>,
}

impl Place {
    /// The network namespace of a process.
    pub fn network_of(pid: u32) -> Result<Self> {
        Ok(Self { network: Some(open(&format!("/proc/{pid}/ns/net"))?), ..Self::default() })
    }

    /// The network and mount namespaces of a process.
    pub fn namespaces_of(pid: u32) -> Result<Self> {
        Ok(Self { mount: Some(open(&format!("/proc/{pid}/ns/mnt"))?), ..Self::network_of(pid)? })
    }

    /// Prepares the command to run here and to die with the thread that started it.
    pub fn apply(self, command: &mut Command) -> Result<()> {
        let cgroups = self.cgroups.iter().map(|path| c_path(path)).collect::<Result<Vec<_>>>()?;
        let binds = match &self.fresh {
            Some(files) => {
                files.iter().map(|(from, to)| Ok((c_path(from)?, c_path(to)?))).collect::<Result<Vec<_>>>()?
            }
            None => vec![],
        };
        // SAFETY: between fork and exec only system calls on prepared values are made; nothing allocates or locks.
        unsafe {
            command.pre_exec(move || self.enter(&cgroups, &binds));
        }
        Ok(())
    }

    fn enter(&self, cgroups: &[CString], binds: &[(CString, CString)]) -> std::io::Result<()> {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
        for cgroup in cgroups {
            write_zero(cgroup)?;
        }
        if let Some(network) = &self.network {
            setns(network, CloneFlags::CLONE_NEWNET)?;
        }
        if let Some(mount) = &self.mount {
            setns(mount, CloneFlags::CLONE_NEWNS)?;
        }
        if self.fresh.is_some() {
            unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)?;
            change_mount(None, c"/", libc::MS_REC | libc::MS_SLAVE)?;
            for (from, to) in binds {
                change_mount(Some(from), to, libc::MS_BIND)?;
            }
        }
        Ok(())
    }
}

/// Runs a program to its end with `input`, and fails with its diagnostics if it fails.
pub fn checked(place: Place, program: &str, arguments: &[&str], input: &str) -> Result<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    place.apply(&mut command)?;
    let hint = "`cargo xtask setup` installs what the cluster needs";
    let mut child = command.spawn().with_context(|| format!("cannot run {program} ({hint})"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).with_context(|| format!("{program} doesn't read its input"))?;
    }
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    let (ended, wait) = mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        if wait.recv_timeout(LONGEST) == Err(RecvTimeoutError::Timeout) {
            let _ = kill(pid, Signal::SIGKILL);
        }
    });
    let output = child.wait_with_output();
    drop(ended);
    let _ = watch.join();
    let output = output?;
    if !output.status.success() {
        let diagnostics = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {}: {}: {}\n{input}", arguments.join(" "), output.status, diagnostics.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The `tracer-app` binary: beside this one, or what `TRACER_APP_BIN` names.
pub fn app_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("TRACER_APP_BIN") {
        return Ok(path.into());
    }
    let own = std::env::current_exe()?;
    let found =
        own.ancestors().skip(1).take(2).map(|directory| directory.join("tracer-app")).find(|path| path.exists());
    found.context("tracer-app is not beside this program; build it with `cargo build -p tracer-tests`")
}

/// The server in Go: beside the `tracer-app` binary.
pub fn go_binary() -> Result<PathBuf> {
    let path = app_binary()?.with_file_name("tracer-go-app");
    if !path.exists() {
        bail!("no server in Go at {}: `cargo xtask linking` builds it", path.display());
    }
    Ok(path)
}

fn open(path: &str) -> Result<File> {
    File::open(path).with_context(|| format!("cannot open {path}"))
}

fn c_path(path: &Path) -> Result<CString> {
    use std::os::unix::ffi::OsStrExt as _;
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

fn write_zero(path: &CString) -> std::io::Result<()> {
    let file = nix::fcntl::open(path.as_c_str(), nix::fcntl::OFlag::O_WRONLY, nix::sys::stat::Mode::empty())?;
    let fd: RawFd = file.as_raw_fd();
    // SAFETY: the descriptor is open and the buffer is one readable byte.
    match unsafe { libc::write(fd, c"0".as_ptr().cast(), 1) } {
        1 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

fn change_mount(from: Option<&CString>, to: &std::ffi::CStr, flags: libc::c_ulong) -> std::io::Result<()> {
    let from = from.map_or(std::ptr::null(), |from| from.as_ptr());
    // SAFETY: the strings are terminated and outlive the call; null is allowed for type and data.
    match unsafe { libc::mount(from, to.as_ptr(), std::ptr::null(), flags, std::ptr::null()) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}
