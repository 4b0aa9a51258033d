//! The file systems that a process can write to: full, or refusing.

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::Duration;

use rustc_hash::FxHashSet;

use crate::event::Volume;
use crate::host::mounts::unescape;
use crate::host::{HostRoot, proc::Proc};

/// Local ones, whose numbers come from memory; of others the answer may never come.
const LOCAL: [&str; 9] = ["ext2", "ext3", "ext4", "xfs", "btrfs", "tmpfs", "overlay", "f2fs", "vfat"];
/// Volumes of a container looked at.
const VOLUMES: usize = 32;
/// A local file system answers at once; one that doesn't is left alone until it does.
const PATIENCE: Duration = Duration::from_millis(50);

/// A file system is being waited for: no second thread for it.
static BUSY: Mutex<()> = Mutex::new(());

/// A mount for writing.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    path: String,
    /// `major:minor`
    device: String,
    kind: String,
    source: String,
    refusing: Option<String>,
}

/// The volumes of a process; empty where they can't be read in time.
pub fn volumes(root: &HostRoot, proc: &Proc, pid: u32) -> Vec<Volume> {
    let mounts = parse(&proc.read(pid, "mountinfo").unwrap_or_default());
    let (own, root) = (proc.path(pid).join("root"), root.clone());
    let (answer, answered) = mpsc::sync_channel(1);
    // Detached: if a file system hangs, so does this thread, and no other is made meanwhile.
    let spawned = std::thread::Builder::new().name("volumes".to_owned()).spawn(move || {
        let Ok(_busy) = BUSY.try_lock() else { return };
        // Bind mounts of one file system share its space, unless a quota divides it.
        let mut seen = FxHashSet::default();
        let mut found = Vec::new();
        for mount in mounts {
            let device = mount.device.clone();
            if let Some(volume) = look(&root, &own, mount)
                && seen.insert((device, volume.size, volume.available))
            {
                found.push(volume);
            }
        }
        let _nobody_waits_any_more = answer.send(found);
    });
    spawned.ok().and_then(|_| answered.recv_timeout(PATIENCE).ok()).unwrap_or_default()
}

/// Lines of `/proc/PID/mountinfo` (proc(5)): `id parent major:minor root point options [fields] - type source options`.
fn parse(text: &str) -> Vec<Mount> {
    let mounts = text.lines().filter_map(|line| {
        let (mount, system) = line.split_once(" - ")?;
        let mount: Vec<&str> = mount.split(' ').collect();
        let mut system = system.split(' ');
        let (kind, source, options) = (system.next()?, system.next()?, system.next()?);
        let (device, path, own) = (*mount.get(2)?, *mount.get(4)?, *mount.get(5)?);
        if !LOCAL.contains(&kind) || !own.split(',').any(|option| option == "rw") {
            return None;
        }
        // The mount is for writing, but its file system isn't: it stopped at an error (ext4 `errors=remount-ro`, since
        // 6.15 shown as `emergency_ro`).
        let refusing = options.split(',').find(|option| matches!(*option, "ro" | "emergency_ro" | "shutdown"));
        Some(Mount {
            path: unescape(path),
            device: device.to_owned(),
            kind: kind.to_owned(),
            source: unescape(source),
            refusing: refusing.map(str::to_owned),
        })
    });
    mounts.take(VOLUMES).collect()
}

fn look(root: &HostRoot, own: &Path, mount: Mount) -> Option<Volume> {
    let Mount { path, device: _, kind, source, refusing } = mount;
    let stat = statvfs(&own.join(path.trim_start_matches('/')))?;
    // Pseudo file systems have no blocks.
    if stat.f_blocks == 0 {
        return None;
    }
    let name = Path::new(&source).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let state = root.path("/sys/fs/ext4").join(name);
    let number = |file: &str| std::fs::read_to_string(state.join(file)).ok()?.trim().parse::<u64>().ok();
    let error_at_s = (kind.starts_with("ext") && number("errors_count").is_some_and(|count| count > 0))
        .then(|| number("last_error_time"))
        .flatten();
    Some(Volume {
        path,
        kind,
        size: stat.f_blocks.saturating_mul(stat.f_frsize),
        available: stat.f_bavail.saturating_mul(stat.f_frsize),
        files: stat.f_files,
        files_available: stat.f_favail,
        refusing,
        error_at_s,
    })
}

fn statvfs(path: &Path) -> Option<libc::statvfs> {
    let path = CString::new(path.to_str()?).ok()?;
    let mut stat = MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the path ends with a zero, and the pointer is valid for one `statvfs`, which the call fills if it succeeds.
    unsafe { (libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) == 0).then(|| stat.assume_init()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_written_to() {
        let text = "1 0 0:9 / / rw,relatime - overlay overlay rw,lowerdir=/a\n\
                    2 1 7:0 / /data\\040x rw - ext4 /dev/loop0 rw,errors=remount-ro,emergency_ro\n\
                    3 1 7:0 /sub /again rw - ext4 /dev/loop0 rw\n\
                    4 1 0:8 / /proc rw - proc proc rw\n\
                    5 1 0:7 / /nfs rw shared:1 - nfs4 host:/x rw\n\
                    6 1 0:6 / /config ro - tmpfs tmpfs rw\n\
                    7 1 8:1 / /old rw shared:1 master:2 - xfs /dev/sda1 ro,noquota\n";
        let found = parse(text);
        let short: Vec<_> = found.iter().map(|m| (m.path.as_str(), m.refusing.as_deref())).collect();
        let expected = [("/", None), ("/data x", Some("emergency_ro")), ("/again", None), ("/old", Some("ro"))];
        assert_eq!(short, expected);
    }

    #[test]
    fn own_volumes() {
        let proc = Proc::new(&HostRoot::default());
        let found = volumes(&HostRoot::default(), &proc, proc.own_pid().unwrap());
        assert!(found.iter().all(|volume| volume.size > 0 && volume.available <= volume.size), "{found:?}");
        assert!(!found.is_empty());
    }
}
