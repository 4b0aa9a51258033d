//! `cargo xtask kernels`: boots Debian's kernels in QEMU and runs the real binary, the hook tests and the demo in each.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::cargo::{self, cargo};
use crate::setup::{self, apt};
use crate::test;

mod image;
mod initramfs;
mod machine;
mod table;

pub(crate) use image::Archive;
use image::Image;
use machine::{Accelerator, Parts};

/// Series of Debian's kernels, oldest first.
pub(crate) const KERNELS: &[&str] = &["5.10", "6.1", "6.12", "6.18", "newest"];

/// What a machine lacks on purpose, and what the tracer must then say instead of running.
struct Degradation {
    name: &'static str,
    settings: &'static [(&'static str, &'static str)],
    says: &'static str,
    /// What it advises can be done while the machine runs, and is.
    advised: bool,
}

const DEGRADATIONS: &[Degradation] = &[
    Degradation {
        name: "cgroup v1 only",
        settings: &[("CGROUPS", "v1")],
        says: "no cgroup v2 file system is mounted",
        advised: true,
    },
    Degradation { name: "no BTF", settings: &[("BTF", "no")], says: "CONFIG_DEBUG_INFO_BTF", advised: false },
];
/// In which kernel those are tried.
const DEGRADED_KERNEL: &str = "6.1";

/// Which kernels, and how much of it.
#[derive(clap::Args)]
pub(crate) struct Kernels {
    /// Only these (5.10, 6.1, 6.12, 6.18, newest); docs/kernels.md keeps what the others last gave
    only: Vec<String>,
    /// Only the start of the tracer and one fault, in a minute each; docs/kernels.md stays as it is
    #[arg(long)]
    short: bool,
}

/// The oldest kernel of a supported Debian, and the one after it.
const IN_CI: [&str; 2] = ["6.1", "6.12"];

/// Starts in a few of them, as a step of a longer run; not where Debian's packages can't be had.
pub(crate) fn check() -> Result<()> {
    if apt::mirror("debian").is_none() {
        eprintln!("not run: apt on this machine has no Debian mirror, where the kernels come from");
        return Ok(());
    }
    run(&Kernels { only: IN_CI.map(str::to_owned).into(), short: true })
}

/// Runs in the kernels named, in all of them if none is; and writes the table from each kernel's last run.
pub(crate) fn run(Kernels { only, short }: &Kernels) -> Result<()> {
    for name in only {
        if !KERNELS.contains(&name.as_str()) {
            bail!("no kernel {name} here, but: {}", KERNELS.join(", "));
        }
    }
    setup::kernels()?;
    let own = build(*short)?;
    let work = cargo::target_dir().join("kernels");
    fs::create_dir_all(&work)?;
    let programs = initramfs::programs(&work, &own)?;
    let archive = Archive::open(&cache("tracer-kernels")?, "deb")?;
    let patience = if *short { machine::SHORT } else { machine::LONG };
    let mut faults = Vec::new();
    let mut accelerator = None;
    for series in KERNELS.iter().filter(|name| only.is_empty() || only.iter().any(|wanted| wanted == *name)) {
        let image = archive.image(series)?;
        let accelerator = *accelerator.get_or_insert_with(|| Accelerator::find(&image.vmlinuz));
        let machine = Machine { work: &work, programs: &programs, image: &image, accelerator, patience };
        eprintln!("==> {} ({accelerator:?})", image.release);
        if *short {
            let parts = machine.boot(&format!("{series} short"), &[("TESTS", "short")])?;
            faults.extend(judge(&image.release, &parts, &["capture", "demo"]));
            continue;
        }
        let parts = machine.boot(series, &[("TESTS", "all")])?;
        faults.extend(judge(&image.release, &parts, &["capture", "hook-tests", "demo"]));
        if *series == DEGRADED_KERNEL {
            for degradation in DEGRADATIONS {
                let parts = machine.boot(degradation.name, degradation.settings)?;
                faults.extend(judge_degraded(degradation, &parts));
            }
        }
    }
    if !short {
        write(&work)?;
    }
    if !faults.is_empty() {
        bail!("{} faults:\n  {}", faults.len(), faults.join("\n  "));
    }
    Ok(())
}

/// Writes what each kernel's last run gave.
fn write(work: &Path) -> Result<()> {
    let logs = |name: &str| machine::results(&logs(work, name));
    let columns: Result<Vec<_>> = KERNELS.iter().map(|name| table::Column::new(&logs(name))).collect();
    let columns = match columns {
        Ok(columns) => columns,
        Err(error) => {
            eprintln!("docs/kernels.md stays as it is: {error:#}");
            return Ok(());
        }
    };
    let degraded: Vec<_> = DEGRADATIONS.iter().map(|it| (it.name, logs(it.name))).collect();
    let path = cargo::root().join("docs/kernels.md");
    fs::write(&path, table::document(&columns, &degraded)).with_context(|| path.display().to_string())
}

struct Machine<'a> {
    work: &'a Path,
    programs: &'a Path,
    image: &'a Image,
    accelerator: Accelerator,
    patience: Duration,
}

impl Machine<'_> {
    fn boot(&self, name: &str, settings: &[(&str, &str)]) -> Result<Parts> {
        let modules = initramfs::modules(self.work, self.image)?;
        let settings = initramfs::settings(self.work, settings)?;
        let whole = self.work.join("initramfs.cpio");
        initramfs::join(&[self.programs, &modules, &settings], &whole)?;
        let logs = logs(self.work, name);
        let (parts, time) = machine::run(self.accelerator, &self.image.vmlinuz, &whole, &logs, self.patience)
            .with_context(|| format!("{} ({name})", self.image.package))?;
        eprintln!("    {name}: {:.0} s", time.as_secs_f32());
        Ok(parts)
    }
}

fn logs(work: &Path, name: &str) -> PathBuf {
    work.join("logs").join(name.replace(' ', "-"))
}

fn judge(release: &str, parts: &Parts, expected: &[&str]) -> Vec<String> {
    let mut faults = Vec::new();
    for name in expected {
        match parts.get(*name) {
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

/// The environment's fault by exit code (3), told in words, without a panic; and it runs once what it advised is done.
fn judge_degraded(Degradation { name, says, advised, .. }: &Degradation, parts: &Parts) -> Vec<String> {
    let part = |which: &str| parts.get(which).map_or(("", -1), |(text, code)| (text.as_str(), *code));
    let mut faults: Vec<_> = oops(name, parts).collect();
    for which in ["doctor", "capture"] {
        let (text, code) = part(which);
        if code != 3 || !text.contains(says) || text.contains("panicked") {
            faults.push(format!("{name}: {which} ended with {code} instead of 3, or doesn't say `{says}`: {text}"));
        }
    }
    let (text, code) = part("advised");
    if *advised && (code != 0 || !text.contains(r#""type":"ready""#)) {
        faults.push(format!("{name}: capture ended with {code} after what it advised was done: {text}"));
    }
    faults
}

fn oops(name: &str, parts: &Parts) -> impl Iterator<Item = String> {
    // 5.10 warns of maps that take memory as they fill (docs/limitations.md).
    let known = |line: &&str| line.contains("kernel/bpf/verifier.c") && name.starts_with("5.10");
    let text = parts.get("oops").map_or("", |(text, _)| text.trim());
    let new: Vec<_> = text.lines().filter(|line| !known(line)).collect();
    (!new.is_empty()).then(|| format!("{name}: the kernel complains: {}", new.join("; "))).into_iter()
}

/// Builds what runs in the machines; names and files.
fn build(short: bool) -> Result<Vec<(&'static str, PathBuf)>> {
    cargo::run(&mut cargo(["build", "--package", "tracer", "--package", "tracer-tests", "--bins"]))?;
    let own = ["tracer", "tracer-app", "tracer-demo"].map(|name| (name, test::binary(name)));
    if short {
        return Ok(own.into());
    }
    let test = ["test", "--package", "tracer-tests", "--test", "kernel", "--no-run", "--message-format", "json"];
    let messages = cargo::output(&mut cargo(test))?;
    let built = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let hook_tests = built
        .filter(|message| message["target"]["name"] == "kernel" && message["executable"].is_string())
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo built no hook tests")?;
    Ok([("hook-tests", hook_tests)].into_iter().chain(own).collect())
}

/// What takes long to fetch or build outlives `cargo clean`.
pub(crate) fn cache(name: &str) -> Result<PathBuf> {
    let home = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(home.join(name))
}
