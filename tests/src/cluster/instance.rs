//! What one cluster owns on the machine, and its removal: on drop, on a signal, and by the next start after a crash.
//!
//! Namespaces and links live by the processes in them; cgroup directories and one directory for files remain. All carry
//! the owner's pid and start time, so that a start can tell what nobody owns any more.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{SigSet, Signal, kill},
    unistd::Pid,
};

const PREFIX: &str = "tracer-test-";
const REMOVAL_PATIENCE: Duration = Duration::from_secs(5);

static ALIVE: Mutex<Vec<String>> = Mutex::new(Vec::new());
static NEXT: AtomicU32 = AtomicU32::new(0);
/// A signal is ending the process.
static ENDING: AtomicBool = AtomicBool::new(false);

/// The name of one cluster of this process; dropping it removes what carries the name.
#[derive(Debug)]
pub struct Instance {
    pub name: String,
    pub mounts: CgroupMounts,
}

impl Instance {
    pub fn create() -> Result<Self> {
        let mounts = CgroupMounts::find()?;
        remove_leftovers(&mounts);
        let pid = std::process::id();
        let start = start_time(pid).context("cannot read the own start time")?;
        let name = format!("{PREFIX}{pid}-{start}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        ALIVE.lock().unwrap_or_else(PoisonError::into_inner).push(name.clone());
        let instance = Self { name, mounts };
        fs::create_dir_all(instance.directory())?;
        fs::create_dir(instance.pods_cgroup())?;
        fs::create_dir(instance.node_cgroup())?;
        fs::create_dir(instance.second_cgroup())?;
        Ok(instance)
    }

    /// For configurations, logs and the dump.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        std::env::temp_dir().join(&self.name)
    }

    /// What the tracer gets as `--host-root`.
    #[must_use]
    pub fn host_root(&self) -> PathBuf {
        self.directory().join("host")
    }

    /// Above the pods' cgroups; what the tracer gets as `--cgroup`.
    #[must_use]
    pub fn pods_cgroup(&self) -> PathBuf {
        self.mounts.unified.join(&self.name)
    }

    /// Above the cgroups of the second node's pods.
    #[must_use]
    pub fn second_cgroup(&self) -> PathBuf {
        self.mounts.unified.join(format!("{}-second", self.name))
    }

    /// For what isn't a pod: the holders of the node's and the outside's namespaces, and hosts outside.
    #[must_use]
    pub fn node_cgroup(&self) -> PathBuf {
        self.mounts.unified.join(format!("{}-node", self.name))
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // What failed because the signal's thread took everything away must not choose the exit code.
        while ENDING.load(Ordering::SeqCst) {
            std::thread::park();
        }
        remove(&self.mounts, &self.name);
        ALIVE.lock().unwrap_or_else(PoisonError::into_inner).retain(|name| *name != self.name);
    }
}

/// Where cgroups are mounted: v2 anywhere, v1 memory and CPU if the node is hybrid.
#[derive(Clone, Debug)]
pub struct CgroupMounts {
    pub unified: PathBuf,
    pub memory_v1: Option<PathBuf>,
    pub cpu_v1: Option<PathBuf>,
}

impl CgroupMounts {
    pub fn find() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/mounts")?;
        let mut unified = None;
        let mut memory_v1 = None;
        let mut cpu_v1 = None;
        for line in mounts.lines() {
            let mut fields = line.split(' ').skip(1);
            let (Some(path), Some(kind), Some(options)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            match kind {
                "cgroup2" => unified = unified.or(Some(PathBuf::from(path))),
                "cgroup" if options.split(',').any(|option| option == "memory") => {
                    memory_v1 = Some(PathBuf::from(path));
                }
                "cgroup" if options.split(',').any(|option| option == "cpu") => cpu_v1 = Some(PathBuf::from(path)),
                _ => {}
            }
        }
        Ok(Self { unified: unified.context("no cgroup2 file system is mounted")?, memory_v1, cpu_v1 })
    }

    fn roots(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.unified].into_iter().chain(&self.memory_v1).chain(&self.cpu_v1)
    }
}

/// The `main` of a program that makes clusters and finds what they show good or not; 3 where it couldn't find out.
pub fn judged(find: impl FnOnce() -> Result<bool>) -> ExitCode {
    match clean_up_on_signals().and_then(|()| find()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(3)
        }
    }
}

/// Makes SIGINT and SIGTERM remove every cluster before the process ends. Call before any thread is started.
pub fn clean_up_on_signals() -> Result<()> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGINT);
    set.add(Signal::SIGTERM);
    set.thread_block()?;
    std::thread::spawn(move || {
        let Ok(signal) = set.wait() else { return };
        ENDING.store(true, Ordering::SeqCst);
        let names = ALIVE.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Ok(mounts) = CgroupMounts::find() {
            for name in names {
                remove(&mounts, &name);
            }
        }
        std::process::exit(128 + signal as i32);
    });
    Ok(())
}

/// Removes what clusters of dead processes left; another user's live clusters stay.
pub fn remove_leftovers(mounts: &CgroupMounts) {
    let temporary = std::env::temp_dir();
    let mut names: Vec<String> = mounts
        .roots()
        .chain([&temporary])
        .filter_map(|root| fs::read_dir(root).ok())
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| owner(name).is_some_and(|(pid, start)| start_time(pid) != Some(start)))
        .map(|name| name.trim_end_matches("-node").trim_end_matches("-second").to_owned())
        .collect();
    names.sort();
    names.dedup();
    for name in names {
        remove(mounts, &name);
    }
}

fn remove(mounts: &CgroupMounts, name: &str) {
    let names = [name.to_owned(), format!("{name}-second"), format!("{name}-node")];
    for name in &names {
        kill_all(&mounts.unified.join(name));
    }
    let deadline = Instant::now() + REMOVAL_PATIENCE;
    for directory in mounts.roots().flat_map(|root| names.iter().map(|name| root.join(name))) {
        while directory.exists() && !remove_cgroup(&directory) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        if directory.exists() {
            eprintln!("cannot remove {}", directory.display());
        }
    }
    let _ = fs::remove_dir_all(std::env::temp_dir().join(name));
}

/// Before 5.14 there is no `cgroup.kill`.
fn kill_all(directory: &Path) {
    if fs::write(directory.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    let processes = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    // A process of another pid namespace is listed as 0, which for kill() would be everybody here.
    for pid in processes.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 1) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    for child in fs::read_dir(directory).into_iter().flatten().flatten().filter(|child| child.path().is_dir()) {
        kill_all(&child.path());
    }
}

/// Whether the directory and all below it are gone.
fn remove_cgroup(directory: &Path) -> bool {
    let children = fs::read_dir(directory).into_iter().flatten().flatten();
    for child in children.filter(|child| child.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_cgroup(&child.path());
    }
    fs::remove_dir(directory).is_ok()
}

/// The pid and start time in a name.
fn owner(name: &str) -> Option<(u32, u64)> {
    let mut fields = name.strip_prefix(PREFIX)?.split('-');
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// In clock ticks since boot: with the pid it names a process for good.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_their_owner() {
        assert_eq!(owner("tracer-test-12-345-0-node"), Some((12, 345)));
        assert_eq!(owner("tracer-test-"), None);
        assert_eq!(owner("other-12-345"), None);
        assert!(start_time(std::process::id()).is_some());
    }
}
