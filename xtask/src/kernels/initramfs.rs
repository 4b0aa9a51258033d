//! The root file system of the virtual machines: this machine's programs with the libraries they need, the project's own
//! binaries, and the kernel's modules for networks.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result};

use super::image::Image;
use crate::cargo::{self, program};

/// What init, the hook tests and the demo's cluster call.
const PROGRAMS: &[&str] = &[
    "sh",
    "bash",
    "cat",
    "dmesg",
    "grep",
    "ip",
    "ip6tables-restore",
    "iptables-restore",
    "ls",
    "mkdir",
    "modprobe",
    "mount",
    "nft",
    "nginx",
    "sleep",
    "sync",
    "sysctl",
    "tail",
    "timeout",
    "true",
    "uname",
    "unbound",
    "unshare",
];
const FILES: &[&str] = &[
    "/etc/passwd",
    "/etc/group",
    "/etc/nsswitch.conf",
    "/etc/protocols",
    "/etc/services",
    "/usr/lib/x86_64-linux-gnu/xtables",
];
/// Of a kernel's modules; what they depend on is within.
const MODULES: &[&str] =
    &["kernel/net", "kernel/lib", "kernel/crypto", "kernel/arch/x86/crypto", "kernel/drivers/net/veth.ko"];

/// The part that all kernels share.
pub(super) fn programs(work: &Path, own: &[(&str, PathBuf)]) -> Result<PathBuf> {
    let root = fresh(&work.join("root"))?;
    for directory in [
        "usr/bin",
        "usr/sbin",
        "usr/lib",
        "usr/lib64",
        "dev",
        "proc",
        "sys",
        "tmp",
        "run",
        "etc",
        "root",
        "srv",
        "mnt",
        "var/log",
        "var/lib/nginx",
        "var/tmp",
    ] {
        fs::create_dir_all(root.join(directory))?;
    }
    for directory in ["bin", "sbin", "lib", "lib64"] {
        symlink(format!("usr/{directory}"), root.join(directory))?;
    }
    symlink("/run", root.join("var/run"))?;
    fs::write(root.join("etc/hosts"), "127.0.0.1 localhost\n")?;
    fs::write(root.join("etc/resolv.conf"), "")?;
    for name in PROGRAMS {
        let found = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
            .iter()
            .map(|dir| Path::new(dir).join(name))
            .find(|path| path.exists());
        let path = found.with_context(|| format!("{name} is not installed; run `cargo xtask setup`"))?;
        with_libraries(&root, &path, &path)?;
    }
    for (name, path) in own {
        let to = Path::new("/usr/bin").join(name);
        with_libraries(&root, path, &to)?;
        // Three quarters of a test build are names for debuggers.
        cargo::run(program(Path::new("strip")).arg("--strip-debug").arg(inside(&root, &to)))?;
    }
    for file in FILES {
        copy(&root, Path::new(file))?;
    }
    let init = root.join("init");
    fs::write(&init, include_str!("init.sh"))?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    pack(&root, &work.join("programs.cpio"))
}

/// The part of one kernel.
pub(super) fn modules(work: &Path, image: &Image) -> Result<PathBuf> {
    let root = fresh(&work.join("modules"))?;
    let to = root.join("usr/lib/modules").join(&image.release);
    for path in MODULES {
        for path in [PathBuf::from(path), PathBuf::from(format!("{path}.xz"))] {
            let (from, to) = (image.modules.join(&path), to.join(&path));
            if from.exists() {
                fs::create_dir_all(to.parent().unwrap_or(&to))?;
                cargo::run(program(Path::new("cp")).arg("-r").arg(from).arg(to))?;
            }
        }
    }
    for name in ["modules.order", "modules.builtin", "modules.builtin.modinfo"] {
        fs::copy(image.modules.join(name), to.join(name)).with_context(|| format!("{}: {name}", image.package))?;
    }
    // Beside `usr/lib`, since that is where it looks.
    symlink("usr/lib", root.join("lib"))?;
    cargo::run(program(Path::new("depmod")).arg("-b").arg(&root).arg(&image.release))?;
    fs::remove_file(root.join("lib"))?;
    pack(&root, &work.join("modules.cpio"))
}

/// What init is told.
pub(super) fn settings(work: &Path, settings: &[(&str, &str)]) -> Result<PathBuf> {
    let root = fresh(&work.join("settings"))?;
    let text: String = settings.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    fs::write(root.join("machine"), text)?;
    pack(&root, &work.join("settings.cpio"))
}

/// The kernel takes several archives in one file.
pub(super) fn join(parts: &[&Path], to: &Path) -> Result<()> {
    let mut whole = fs::File::create(to)?;
    for part in parts {
        std::io::copy(&mut fs::File::open(part)?, &mut whole)?;
    }
    Ok(())
}

fn fresh(directory: &Path) -> Result<PathBuf> {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    fs::create_dir_all(directory)?;
    Ok(directory.to_owned())
}

fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn with_libraries(root: &Path, from: &Path, to: &Path) -> Result<()> {
    let to = inside(root, to);
    fs::copy(from, &to).with_context(|| format!("{} to {}", from.display(), to.display()))?;
    libraries(root, from)
}

fn libraries(root: &Path, of: &Path) -> Result<()> {
    // Fails for what is linked to nothing.
    let list = cargo::output(program(Path::new("ldd")).arg(of).stderr(Stdio::null())).unwrap_or_default();
    for library in list.split_whitespace().filter(|word| word.starts_with('/')) {
        let to = inside(root, Path::new(library));
        if !to.exists() {
            fs::create_dir_all(to.parent().unwrap_or(root))?;
            fs::copy(library, &to).with_context(|| library.to_owned())?;
        }
    }
    Ok(())
}

fn copy(root: &Path, path: &Path) -> Result<()> {
    let to = inside(root, path);
    fs::create_dir_all(to.parent().unwrap_or(root))?;
    cargo::run(program(Path::new("cp")).arg("-rL").arg(path).arg(&to))
}

fn pack(root: &Path, to: &Path) -> Result<PathBuf> {
    let line = "find . -print0 | cpio --null --quiet --create --format=newc";
    cargo::run(program(Path::new("sh")).args(["-c", line]).current_dir(root).stdout(fs::File::create(to)?))?;
    Ok(to.to_owned())
}
