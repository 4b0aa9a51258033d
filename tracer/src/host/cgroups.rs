//! Cgroup ids to paths. The id of a cgroup v2 directory is its inode number.
//!
//! The tree is walked once; after that, `cgroup_mkdir` and `cgroup_rmdir` events keep it current, and an id that is still
//! unknown (an event was lost) has the tree walked again, but not for every such question.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustc_hash::{FxHashMap, FxHashSet};

use super::{HostRoot, mounts};

/// The inode number of the root of a cgroup v2 tree.
pub const ROOT_ID: u64 = 1;
/// Walks of the tree for unknown ids are at least this many such questions apart.
const WALK_EVERY: u32 = 64;
/// Ids of removed cgroups remembered: events about them arrive late.
const REMEMBERED: usize = 4096;

/// Why cgroup paths aren't known.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    #[error("no cgroup v2 file system is mounted{}", below(.root))]
    NotMounted { root: PathBuf },
    #[error("{path} is not a directory of a cgroup v2 file system: {reason}; give a directory below {mount}")]
    NotCgroup { path: PathBuf, mount: PathBuf, reason: String },
}

fn below(root: &Path) -> String {
    if root == Path::new("/") { String::new() } else { format!(" below {}", root.display()) }
}

/// Where cgroup v2 is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    pub path: PathBuf,
    /// It shows the whole tree; false in a container with a cgroup namespace of its own.
    pub is_root: bool,
}

/// Finds the cgroup v2 file system: a mount that shows the whole tree if there is one.
///
/// # Errors
/// [`CgroupError::NotMounted`]
pub fn find_mount(root: &HostRoot) -> Result<Mount, CgroupError> {
    let (own, host) = mounts::tables(root);
    let mut partial = None;
    for path in mounts::cgroup2_candidates(root, &own, &host) {
        // Only cgroup v2 directories have this file (not the root on old kernels, which has the other).
        if !path.join("cgroup.procs").exists() || !path.join("cgroup.subtree_control").exists() {
            continue;
        }
        match id_of(&path) {
            Ok(ROOT_ID) => return Ok(Mount { path, is_root: true }),
            Ok(_) => partial = partial.or(Some(Mount { path, is_root: false })),
            Err(_) => {}
        }
    }
    partial.ok_or_else(|| CgroupError::NotMounted { root: root.as_path().into() })
}

/// The id of a cgroup directory.
///
/// # Errors
/// Where the directory can't be looked at.
pub fn id_of(path: &Path) -> io::Result<u64> {
    Ok(std::fs::metadata(path)?.ino())
}

/// Ids and paths of a cgroup v2 tree.
#[derive(Debug)]
pub struct Cgroups {
    mount: Mount,
    paths: FxHashMap<u64, String>,
    /// Removed ones, oldest first.
    removed: std::collections::VecDeque<u64>,
    unknown: u32,
}

impl Cgroups {
    /// Walks the tree below a mount.
    pub fn read(mount: Mount) -> Self {
        let mut cgroups = Self { mount, paths: FxHashMap::default(), removed: Default::default(), unknown: 0 };
        cgroups.walk();
        cgroups
    }

    /// Path below the root, beginning with `/`; `/` for the root itself.
    pub fn path(&mut self, id: u64) -> Option<&str> {
        if !self.paths.contains_key(&id) && id != 0 {
            if self.unknown.is_multiple_of(WALK_EVERY) {
                self.walk();
            }
            self.unknown = self.unknown.wrapping_add(1);
        }
        self.known(id)
    }

    /// As [`Self::path`], without looking at the tree.
    pub fn known(&self, id: u64) -> Option<&str> {
        self.paths.get(&id).map(String::as_str)
    }

    /// A `cgroup_mkdir` event, whose path begins at the kernel's root.
    pub fn made(&mut self, id: u64, path: &str) {
        let path = if self.mount.is_root { Some(path.to_owned()) } else { self.shown(id, path) };
        self.paths.extend(path.map(|path| (id, path)));
    }

    /// The part of a path that leads to the directory from a mount that shows only some of the tree.
    fn shown(&self, id: u64, path: &str) -> Option<String> {
        let mut rest = path.trim_start_matches('/');
        while id_of(&self.mount.path.join(rest)).ok() != Some(id) {
            rest = rest.split_once('/')?.1;
        }
        Some(format!("/{rest}"))
    }

    /// Whether a cgroup can be the node's. Of a node that is a container itself the tree shows its own only; what runs
    /// outside of v2 cgroups is in the root.
    pub fn may_hold(&mut self, id: u64) -> bool {
        self.mount.is_root || id == ROOT_ID || self.path(id).is_some()
    }

    /// A `cgroup_rmdir` event. The path stays known for a while: what happened before is told after.
    pub fn removed(&mut self, id: u64) {
        if !self.paths.contains_key(&id) {
            return;
        }
        self.removed.push_back(id);
        if self.removed.len() > REMEMBERED
            && let Some(oldest) = self.removed.pop_front()
        {
            self.paths.remove(&oldest);
        }
    }

    /// Every id below a directory (given as a path below the root), itself included.
    pub fn subtree<'a>(&'a self, path: &'a str) -> impl Iterator<Item = u64> + 'a {
        let prefix = path.trim_end_matches('/');
        self.paths
            .iter()
            .filter(move |(_, other)| {
                other.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
            .map(|(id, _)| *id)
    }

    /// Every id and path.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &str)> {
        self.paths.iter().map(|(id, path)| (*id, path.as_str()))
    }

    /// Where the tree is mounted.
    pub fn mount(&self) -> &Path {
        &self.mount.path
    }

    /// Adds what the tree has now; what is gone stays for a while, as after [`Self::removed`].
    fn walk(&mut self) {
        let mut found = FxHashSet::default();
        let mut directories = vec![self.mount.path.clone()];
        while let Some(directory) = directories.pop() {
            // A cgroup that vanishes during the walk is none of ours.
            if let Ok(id) = id_of(&directory) {
                let below = directory.strip_prefix(&self.mount.path).unwrap_or(Path::new(""));
                self.paths.insert(id, format!("/{}", below.display()));
                found.insert(id);
            }
            let Ok(entries) = std::fs::read_dir(&directory) else { continue };
            directories.extend(
                entries
                    .flatten()
                    .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                    .map(|entry| entry.path()),
            );
        }
        // Whose removal wasn't told.
        found.extend(&self.removed);
        let gone: Vec<u64> = self.paths.keys().filter(|id| !found.contains(id)).copied().collect();
        gone.into_iter().for_each(|id| self.removed(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(path: &Path) -> Mount {
        Mount { path: path.into(), is_root: true }
    }

    #[test]
    fn a_tree_that_shows_only_the_nodes_own() {
        let tree = tempfile::tempdir().unwrap();
        let mut cgroups = Cgroups::read(Mount { path: tree.path().into(), is_root: false });
        let pod = tree.path().join("kubelet/kubepods/podA");
        std::fs::create_dir_all(&pod).unwrap();
        let id = id_of(&pod).unwrap();
        cgroups.made(id, "/docker/0123/kubelet/kubepods/podA");
        cgroups.made(u64::MAX, "/docker/4567/kubelet/kubepods/podA");
        assert_eq!(cgroups.known(id), Some("/kubelet/kubepods/podA"));
        assert!(cgroups.may_hold(id) && cgroups.may_hold(ROOT_ID) && !cgroups.may_hold(u64::MAX));
        assert!(Cgroups::read(whole(tree.path())).may_hold(u64::MAX));
    }

    #[test]
    fn walk_events_and_late_questions() {
        let tree = tempfile::tempdir().unwrap();
        let pod = tree.path().join("kubepods/podA");
        std::fs::create_dir_all(&pod).unwrap();
        let mut cgroups = Cgroups::read(whole(tree.path()));
        let id = id_of(&pod).unwrap();
        assert_eq!(cgroups.path(id), Some("/kubepods/podA"));
        assert_eq!(cgroups.path(id_of(tree.path()).unwrap()), Some("/"));
        cgroups.made(u64::MAX, "/kubepods/podB/c");
        cgroups.removed(u64::MAX);
        assert_eq!(cgroups.path(u64::MAX), Some("/kubepods/podB/c"), "remembered after its removal");
        assert_eq!(cgroups.subtree("/kubepods/podB").collect::<Vec<_>>(), [u64::MAX]);
        assert_eq!(cgroups.subtree("/").count(), 4);
    }

    #[test]
    fn an_unknown_id_has_the_tree_walked_again() {
        let tree = tempfile::tempdir().unwrap();
        let mut cgroups = Cgroups::read(whole(tree.path()));
        let late = tree.path().join("late");
        std::fs::create_dir(&late).unwrap();
        assert_eq!(cgroups.path(id_of(&late).unwrap()), Some("/late"));
        assert_eq!(cgroups.path(0), None);
    }

    #[test]
    fn as_many_are_remembered_as_there_are_and_some_that_are_gone() {
        let tree = tempfile::tempdir().unwrap();
        let mut cgroups = Cgroups::read(whole(tree.path()));
        for id in 1000..101_000 {
            cgroups.made(1 << 40 | id, "/kubepods/pod/container");
            // The rest are events that were lost.
            if id.is_multiple_of(2) {
                cgroups.removed(1 << 40 | id);
            }
        }
        for unknown in 0..u64::from(WALK_EVERY) {
            cgroups.path(1 << 50 | unknown);
        }
        assert_eq!(cgroups.iter().count(), REMEMBERED + 1);
    }

    #[test]
    fn the_subtree_of_a_name_is_not_that_of_a_longer_name() {
        let mut cgroups = Cgroups::read(whole(Path::new("/nonexistent")));
        cgroups.made(2, "/a");
        cgroups.made(3, "/ab");
        assert_eq!(cgroups.subtree("/a").collect::<Vec<_>>(), [2]);
    }
}
