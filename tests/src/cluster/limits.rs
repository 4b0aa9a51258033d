//! What a container may use up: memory and CPU by its cgroup, descriptors by its process, and space of its volume.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::{instance::CgroupMounts, spec::PodSpec};

/// Where a pod's volume is mounted: a directory that every machine has and nobody uses.
pub(super) const VOLUME: &str = "/srv";
const PERIOD_US: u64 = 100_000;
const EXT4_BYTES: u64 = 16 << 20;

/// A file system of a pod's own.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    pub pod: String,
    /// An ext4 file system in a file, else a tmpfs.
    #[serde(default)]
    pub ext4: bool,
    #[serde(default)]
    pub then: Then,
}

/// What becomes of a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    #[default]
    Nothing,
    /// So much of its 1 MiB is used, as `fallocate` takes it.
    Fill(String),
    /// The file system meets an error and refuses writes from then on.
    Break,
}

impl Volume {
    /// The arguments of `mount`.
    pub(super) fn mount(&self, directory: &Path) -> Result<Vec<String>> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        if !self.ext4 {
            return Ok(words(&["-t", "tmpfs", "-o", "size=1m", "tmpfs", VOLUME]));
        }
        let image = directory.join(format!("{}.ext4", self.pod.replace('/', ".")));
        File::create(&image)?.set_len(EXT4_BYTES)?;
        let image = image.to_str().context("a path that is not UTF-8")?;
        crate::run::checked(crate::run::Place::default(), "mkfs.ext4", &["-q", image], "")?;
        // The device goes with the mount, and the mount with the pod.
        Ok(words(&["-t", "ext4", "-o", "loop,errors=remount-ro", image, VOLUME]))
    }
}

/// The command line under the limit.
pub(super) fn descriptors(spec: &PodSpec, words: Vec<String>) -> Vec<String> {
    let Some(limit) = spec.descriptor_limit else { return words };
    ["prlimit".to_owned(), format!("--nofile={limit}")].into_iter().chain(words).collect()
}

/// Sets the container's limits; the `cgroup.procs` of version 1 directories that its processes have to enter as well.
pub(super) fn cgroups(mounts: &CgroupMounts, container: &Path, spec: &PodSpec) -> Result<Vec<PathBuf>> {
    let mut enter = vec![];
    if let Some(mib) = spec.memory_limit_mib {
        let bytes = (mib << 20).to_string();
        match v1(mounts.memory_v1.as_deref(), mounts, container)? {
            Some(directory) => {
                fs::write(directory.join("memory.limit_in_bytes"), bytes)?;
                enter.push(directory.join("cgroup.procs"));
            }
            None => {
                enable(mounts, container, "+memory")?;
                fs::write(container.join("memory.max"), bytes)?;
            }
        }
    }
    if let Some(millis) = spec.cpu_limit_millis {
        let quota = millis * PERIOD_US / 1000;
        match v1(mounts.cpu_v1.as_deref(), mounts, container)? {
            Some(directory) => {
                fs::write(directory.join("cpu.cfs_period_us"), PERIOD_US.to_string())?;
                fs::write(directory.join("cpu.cfs_quota_us"), quota.to_string())?;
                enter.push(directory.join("cgroup.procs"));
            }
            None => {
                enable(mounts, container, "+cpu")?;
                fs::write(container.join("cpu.max"), format!("{quota} {PERIOD_US}"))?;
            }
        }
    }
    Ok(enter)
}

/// The container's directory in a version 1 hierarchy.
fn v1(hierarchy: Option<&Path>, mounts: &CgroupMounts, container: &Path) -> Result<Option<PathBuf>> {
    let Some(hierarchy) = hierarchy else { return Ok(None) };
    let directory = hierarchy.join(container.strip_prefix(&mounts.unified)?);
    fs::create_dir_all(&directory)?;
    Ok(Some(directory))
}

/// Lets the directories above a container hand a controller down.
fn enable(mounts: &CgroupMounts, container: &Path, controller: &str) -> Result<()> {
    let above: Vec<_> = container.ancestors().skip(1).take_while(|path| path.starts_with(&mounts.unified)).collect();
    for parent in above.iter().rev() {
        fs::write(parent.join("cgroup.subtree_control"), controller)?;
    }
    Ok(())
}
