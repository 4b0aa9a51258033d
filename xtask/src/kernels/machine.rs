//! One virtual machine: boots, does what `init.sh` says, ends.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::cargo::program;

/// What emulation needs for everything, several times over.
pub(super) const LONG: Duration = Duration::from_secs(1500);
/// The same for the start of the tracer and one fault.
pub(super) const SHORT: Duration = Duration::from_secs(240);
/// An accelerator that works boots a kernel without a root file system in a second, and the kernel then gives up.
const PROBE: Duration = Duration::from_secs(10);

/// How the machine's processor is provided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accelerator {
    Kvm,
    Emulation,
}

impl Accelerator {
    /// KVM where it boots this kernel. That the device opens says little: nested, it may hang.
    pub(super) fn find(vmlinuz: &Path) -> Self {
        let works = Path::new("/dev/kvm").exists() && {
            let mut qemu = Self::Kvm.qemu(vmlinuz, "panic=-1");
            qemu.stdout(Stdio::null()).stderr(Stdio::null()).arg("-nographic");
            qemu.spawn()
                .is_ok_and(|child| wait(child, PROBE).is_ok_and(|ended| ended.is_some_and(|status| status.success())))
        };
        if works { Self::Kvm } else { Self::Emulation }
    }

    fn qemu(self, vmlinuz: &Path, arguments: &str) -> Command {
        let mut qemu = program(Path::new("qemu-system-x86_64"));
        match self {
            Self::Kvm => qemu.args(["-accel", "kvm", "-cpu", "host"]),
            // Without cx16: emulated, it makes the kernel's allocator take a path that is very slow.
            Self::Emulation => qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max,-cx16"]),
        };
        qemu.args(["-m", "1536", "-smp", "2", "-no-reboot", "-nodefaults", "-nic", "none", "-display", "none"]);
        qemu.stdin(Stdio::null()).arg("-kernel").arg(vmlinuz).args(["-append", arguments]);
        qemu
    }
}

/// What a part of `init.sh` printed, and how it ended; by its name.
pub(super) type Parts = BTreeMap<String, (String, i32)>;

/// Boots and waits for the end. The logs stay in the directory for whoever wants to look.
pub(super) fn run(
    accelerator: Accelerator,
    vmlinuz: &Path,
    initramfs: &Path,
    logs: &Path,
    patience: Duration,
) -> Result<(Parts, Duration)> {
    fs::create_dir_all(logs)?;
    let (console, results) = (logs.join("console.log"), logs.join("results.log"));
    let mut qemu = accelerator.qemu(vmlinuz, "console=ttyS0 panic=-1 quiet oops=panic");
    qemu.arg("-initrd").arg(initramfs);
    for file in [&console, &results] {
        qemu.arg("-serial").arg(format!("file:{}", file.display()));
    }
    let start = Instant::now();
    let child = qemu.spawn().context("can't run `qemu-system-x86_64`: install qemu-system-x86")?;
    let ended = wait(child, patience)?;
    let parts = self::results(logs);
    if ended.is_none() {
        bail!("the machine didn't end within {} s; see {}", patience.as_secs(), logs.display());
    }
    if !parts.contains_key("oops") {
        bail!("the machine ended before its time: see {}", console.display());
    }
    Ok((parts, start.elapsed()))
}

/// What a machine's last run printed; nothing if there was none.
pub(super) fn results(logs: &Path) -> Parts {
    parts(&String::from_utf8_lossy(&fs::read(logs.join("results.log")).unwrap_or_default()))
}

/// How it ended by itself in time; if it didn't, it's ended.
fn wait(mut child: Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn parts(text: &str) -> Parts {
    let mut parts = Parts::new();
    let mut open: Option<(&str, String)> = None;
    for line in text.lines().map(|line| line.trim_end_matches('\r')) {
        let words: Vec<_> = line.split(' ').collect();
        match (words.as_slice(), &mut open) {
            (["@@", "begin", name], _) => open = Some((name, String::new())),
            (["@@", "end", _, code], _) => {
                if let Some((name, text)) = open.take() {
                    parts.insert(name.to_owned(), (text, code.parse().unwrap_or(-1)));
                }
            }
            (_, Some((_, text))) => {
                text.push_str(line);
                text.push('\n');
            }
            _ => {}
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_by_name() {
        let found =
            parts("noise\r\n@@ begin a\r\none\r\ntwo\r\n@@ end a 0\r\n@@ begin b\r\n@@ end b 3\r\n@@ begin c\r\ncut");
        assert_eq!(found["a"], ("one\ntwo\n".to_owned(), 0));
        assert_eq!(found["b"], (String::new(), 3));
        assert!(!found.contains_key("c"));
    }
}
