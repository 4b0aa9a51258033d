//! Where the host's file system is mounted.

use std::path::{Path, PathBuf};

/// The root of the host's file system: `/`, or where a container has it mounted (`--host-root`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRoot(PathBuf);

impl HostRoot {
    /// A root at this directory.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self(root.into())
    }

    /// Where an absolute path of the host is.
    pub fn path(&self, absolute: impl AsRef<Path>) -> PathBuf {
        let absolute = absolute.as_ref();
        self.0.join(absolute.strip_prefix("/").unwrap_or(absolute))
    }

    /// The root itself.
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// The host's name, not that of a container.
    pub fn host_name(&self) -> Option<String> {
        let name = std::fs::read_to_string(self.path("/proc/sys/kernel/hostname")).ok()?;
        Some(name.trim().to_owned()).filter(|name| !name.is_empty())
    }

    /// The process lives in the host's own file system.
    pub fn is_own(&self) -> bool {
        self.0 == Path::new("/")
    }
}

impl Default for HostRoot {
    fn default() -> Self {
        Self::new("/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_below_a_root() {
        assert_eq!(HostRoot::new("/host").path("/proc/1/mounts"), Path::new("/host/proc/1/mounts"));
        assert_eq!(HostRoot::default().path("/proc"), Path::new("/proc"));
    }
}
