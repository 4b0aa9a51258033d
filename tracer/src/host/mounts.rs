//! The mount table, read for one question: where is cgroup v2?

use std::path::{Path, PathBuf};

use super::HostRoot;

/// One line of a mount table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    pub path: PathBuf,
    /// File system type.
    pub kind: String,
    /// Options, comma-separated.
    pub options: String,
}

/// Reads lines of `/proc/mounts` (fstab(5): blanks are `\040` and the like).
pub fn parse(text: &str) -> Vec<Mount> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            let (path, kind, options) = (words.next()?, words.next()?, words.next()?);
            Some(Mount { path: unescape(path).into(), kind: kind.into(), options: options.into() })
        })
        .collect()
}

pub(super) fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// Directories where cgroup v2 may be mounted as seen from here, most likely first. `own` is this process's mount table,
/// `host` that of the host's first process.
pub fn cgroup2_candidates(root: &HostRoot, own: &[Mount], host: &[Mount]) -> Vec<PathBuf> {
    let v2 = |mounts: &[Mount]| {
        mounts.iter().filter(|mount| mount.kind == "cgroup2").map(|mount| mount.path.clone()).collect()
    };
    let own: Vec<PathBuf> = v2(own);
    let host: Vec<PathBuf> = v2(host);
    let below = |path: &PathBuf| path.starts_with(root.as_path());
    let mut found: Vec<PathBuf> = own.iter().filter(|path| below(path)).cloned().collect();
    found.extend(host.iter().map(|path| root.path(path)));
    found.extend(["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(|path| root.path(path)));
    found.extend(own.iter().filter(|path| !below(path)).cloned());
    let mut seen = std::collections::HashSet::new();
    found.retain(|path| seen.insert(path.clone()));
    found
}

/// Where a version 1 controller is mounted, as seen from here.
pub fn cgroup1(root: &HostRoot, mounts: &[Mount], controller: &str) -> Option<PathBuf> {
    mounts
        .iter()
        .filter(|mount| mount.kind == "cgroup" && mount.options.split(',').any(|option| option == controller))
        .map(|mount| mount.path.clone())
        .max_by_key(|path| (path.starts_with(root.as_path()), std::cmp::Reverse(path.components().count())))
}

/// The mount tables of this process and of the host's first process (empty where they can't be read).
pub fn tables(root: &HostRoot) -> (Vec<Mount>, Vec<Mount>) {
    let read = |path: &Path| std::fs::read_to_string(path).map(|text| parse(&text)).unwrap_or_default();
    let host = if root.is_own() { Vec::new() } else { read(&root.path("/proc/1/mounts")) };
    (read(Path::new("/proc/self/mounts")), host)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "tmpfs /sys/fs/cgroup tmpfs rw,mode=755 0 0\n\
                          cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n\
                          cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n";

    #[test]
    fn hybrid() {
        let found = cgroup2_candidates(&HostRoot::default(), &parse(HYBRID), &[]);
        assert_eq!(found[0], Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(
            cgroup1(&HostRoot::default(), &parse(HYBRID), "memory").unwrap(),
            Path::new("/sys/fs/cgroup/memory")
        );
    }

    #[test]
    fn in_a_container_the_hosts_mount_wins() {
        let own = parse("cgroup /sys/fs/cgroup cgroup2 ro 0 0\ncgroup2 /host/sys/fs/cgroup cgroup2 rw 0 0\n");
        let found = cgroup2_candidates(&HostRoot::new("/host"), &own, &[]);
        assert_eq!(found[0], Path::new("/host/sys/fs/cgroup"));
        assert_eq!(found.last().unwrap(), Path::new("/sys/fs/cgroup"));
    }

    #[test]
    fn a_path_with_a_blank() {
        assert_eq!(parse("cgroup2 /mnt/a\\040b cgroup2 rw 0 0\n")[0].path, Path::new("/mnt/a b"));
    }
}
