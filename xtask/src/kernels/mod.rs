//! `cargo xtask kernels`: boots Debian's kernels in QEMU and runs the real binary, the hook tests and the demo in each.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::cargo::{self, cargo};
use crate::{setup, test};

mod image;
mod initramfs;
mod machine;
mod table;

use image::{Archive, Image};
use machine::{Accelerator, Parts};

/// Series of Debian's kernels, oldest first.
pub(crate) const KERNELS: &[&str] = &["5.10", "6.1", "6.12", "6.18", "newest"];

/// What a machine lacks on purpose, and what the tracer must then say instead of running.
struct Degradation {
    name: &'static str,
    settings: &'static [(&'static str, &'static str)],
    says: &'static str,
}

const DEGRADATIONS: &[Degradation] = &[
    Degradation { name: "cgroup v1 only", settings: &[("CGROUPS", "v1")], says: "no cgroup v2 file system is mounted" },
    Degradation { name: "no BTF", settings: &[("BTF", "no")], says: "CONFIG_DEBUG_INFO_BTF" },
];
/// In which kernel those are tried.
const DEGRADED_KERNEL: &str = "6.1";

/// Runs in the kernels named, in all of them if none is; and writes the table from each kernel's last run.
pub(crate) fn run(only: &[String]) -> Result<()> {
    for name in only {
        if !KERNELS.contains(&name.as_str()) {
            bail!("no kernel {name} here, but: {}", KERNELS.join(", "));
        }
    }
    setup::kernels()?;
    let own = build()?;
    let work = cargo::target_dir().join("kernels");
    fs::create_dir_all(&work)?;
    let programs = initramfs::programs(&work, &own)?;
    let archive = Archive::open(&cache()?)?;
    let mut faults = Vec::new();
    let mut accelerator = None;
    for series in KERNELS.iter().filter(|name| only.is_empty() || only.iter().any(|wanted| wanted == *name)) {
        let image = archive.image(series)?;
        let accelerator = *accelerator.get_or_insert_with(|| Accelerator::find(&image.vmlinuz));
        let machine = Machine { work: &work, programs: &programs, image: &image, accelerator };
        eprintln!("==> {} ({accelerator:?})", image.release);
        let parts = machine.boot(series, &[("TESTS", "yes")])?;
        faults.extend(judge(&image.release, &parts));
        if *series == DEGRADED_KERNEL {
            for Degradation { name, settings, says } in DEGRADATIONS {
                let parts = machine.boot(name, settings)?;
                faults.extend(judge_degraded(name, &parts, says));
            }
        }
    }
    let logs = |series: &&str| machine::results(&work.join("logs").join(series));
    let columns: Vec<_> = KERNELS.iter().map(logs).map(|parts| table::Column::new(&parts)).collect::<Result<_>>()?;
    let path = cargo::root().join("docs/kernels.md");
    fs::write(&path, table::document(&columns)).with_context(|| path.display().to_string())?;
    if !faults.is_empty() {
        bail!("{} faults:\n  {}", faults.len(), faults.join("\n  "));
    }
    Ok(())
}

struct Machine<'a> {
    work: &'a Path,
    programs: &'a Path,
    image: &'a Image,
    accelerator: Accelerator,
}

impl Machine<'_> {
    fn boot(&self, name: &str, settings: &[(&str, &str)]) -> Result<Parts> {
        let modules = initramfs::modules(self.work, self.image)?;
        let settings = initramfs::settings(self.work, settings)?;
        let whole = self.work.join("initramfs.cpio");
        initramfs::join(&[self.programs, &modules, &settings], &whole)?;
        let logs = self.work.join("logs").join(name.replace(' ', "-"));
        let (parts, time) = machine::run(self.accelerator, &self.image.vmlinuz, &whole, &logs)
            .with_context(|| format!("{} ({name})", self.image.package))?;
        eprintln!("    {name}: {:.0} s", time.as_secs_f32());
        Ok(parts)
    }
}

fn judge(release: &str, parts: &Parts) -> Vec<String> {
    let mut faults = Vec::new();
    for name in ["capture", "hook-tests", "demo"] {
        match parts.get(name) {
            Some((_, 0)) => {}
            Some((text, code)) => {
                eprintln!("{text}");
                faults.push(format!("{release}: {name} ended with {code}"));
            }
            None => faults.push(format!("{release}: {name} didn't end")),
        }
    }
    faults.extend(oops(release, parts));
    faults
}

/// The environment's fault by exit code (3), told in words, without a panic.
fn judge_degraded(name: &str, parts: &Parts, says: &str) -> Vec<String> {
    let (text, code) = parts.get("capture").map_or(("", -1), |(text, code)| (text.as_str(), *code));
    let mut faults: Vec<_> = oops(name, parts).collect();
    if code != 3 || !text.contains(says) {
        faults.push(format!("{name}: capture ended with {code} instead of 3, or doesn't say `{says}`: {text}"));
    }
    faults
}

fn oops(name: &str, parts: &Parts) -> impl Iterator<Item = String> {
    let text = parts.get("oops").map_or("", |(text, _)| text.trim());
    (!text.is_empty()).then(|| format!("{name}: the kernel complains: {text}")).into_iter()
}

/// Builds what runs in the machines; names and files.
fn build() -> Result<Vec<(&'static str, PathBuf)>> {
    cargo::run(&mut cargo(["build", "--package", "tracer", "--package", "tracer-tests", "--bins"]))?;
    let test = ["test", "--package", "tracer-tests", "--test", "kernel", "--no-run", "--message-format", "json"];
    let messages = cargo::output(&mut cargo(test))?;
    let built = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let hook_tests = built
        .filter(|message| message["target"]["name"] == "kernel" && message["executable"].is_string())
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo built no hook tests")?;
    let own = ["tracer", "tracer-app", "tracer-demo"].map(|name| (name, test::binary(name)));
    Ok([("hook-tests", hook_tests)].into_iter().chain(own).collect())
}

/// Kernels outlive `cargo clean`.
fn cache() -> Result<PathBuf> {
    let home = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(home.join("tracer-kernels"))
}
