//! Containers' output as a runtime writes it: a file in the CRI log format below the cluster's own `/var/log/pods`.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read, Write as _},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Child,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result};

use super::plan::Pod;

/// containerd passes longer lines on in parts.
const PART: u64 = 16 << 10;

/// What stands for the host's root: the machine's `/proc` and `/sys`, and logs of its own.
pub(super) fn make_host_root(root: &Path) -> Result<()> {
    fs::create_dir_all(root.join("var/log/pods"))?;
    for name in ["proc", "sys"] {
        symlink(Path::new("/").join(name), root.join(name)).with_context(|| format!("cannot link to /{name}"))?;
    }
    Ok(())
}

/// The file of a pod's only container.
pub(super) fn file(root: &Path, pod: &Pod) -> PathBuf {
    let directory = format!("{}_{}_{}", pod.spec.namespace, pod.name, pod.uid);
    root.join("var/log/pods").join(directory).join(pod.spec.server.container()).join("0.log")
}

/// Writes down what a process prints, until it ends.
pub(super) fn follow(child: &mut Child, file: &Path) -> Result<()> {
    let stdout = child.stdout.take().context("no standard output")?;
    let stderr = child.stderr.take().context("no standard error")?;
    let file = Arc::new(Mutex::new(File::create(file).with_context(|| format!("cannot create {}", file.display()))?));
    relay(stdout, "stdout", Arc::clone(&file));
    relay(stderr, "stderr", file);
    Ok(())
}

fn relay(from: impl Read + Send + 'static, stream: &'static str, to: Arc<Mutex<File>>) {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(from);
        let mut line = Vec::new();
        while reader.by_ref().take(PART).read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let tag = if line.ends_with(b"\n") { "F" } else { "P" };
            let mut bytes = format!("{} {stream} {tag} ", jiff::Timestamp::now()).into_bytes();
            bytes.append(&mut line);
            if tag == "P" {
                bytes.push(b'\n');
            }
            if to.lock().unwrap_or_else(PoisonError::into_inner).write_all(&bytes).is_err() {
                break;
            }
        }
    });
}
