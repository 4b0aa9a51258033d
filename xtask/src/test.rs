//! `cargo xtask test`: each kind of test, the cheapest first.
//!
//! One profile and one choice of packages throughout: another profile, or fewer packages (which turn on other features of
//! what they share), would compile the dependencies once more. The profile is `dev`, which compiles fastest; the kernel
//! programs are optimised in it, too.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::cargo::{self, cargo};
use crate::setup;
use crate::steps::Steps;

/// A kind of test: which targets have it, and what their test programs are told.
type Kind = (&'static str, &'static [&'static str], &'static [&'static str]);

/// What every crate says of itself.
const UNIT: Kind = ("unit tests", &["--lib", "--bins"], &[]);

/// Real programs in a real kernel: all of these need root.
const KERNEL: &[Kind] = &[
    ("command line tests", &["--test", "cli"], &["--include-ignored"]),
    // One at a time: they count what the whole machine does.
    ("loader tests", &["--lib"], &["--ignored", "--test-threads=1"]),
    ("hook tests", &["--test", "kernel"], &[]),
    ("watch tests", &["--test", "watch"], &[]),
    ("cluster tests", &["--test", "cluster"], &[]),
    ("agent tests", &["--test", "agent"], &["--test-threads=2"]),
    ("scenarios", &["--test", "scenarios"], &[]),
    ("live scenarios", &["--test", "scenarios"], &["--live", "--sample"]),
];

pub(crate) fn run(filters: &[String]) -> Result<()> {
    let mut steps = Steps::default();
    steps.step("setup", || setup::run(setup::Report::WhenInstalling))?;
    all(&mut steps, filters)?;
    steps.summary();
    Ok(())
}

/// Every test whose name contains one of the filters; all if there are none.
pub(crate) fn all(steps: &mut Steps, filters: &[String]) -> Result<()> {
    steps.step("core tests", || core(filters))?;
    // Puts the programs that the tests start beside the tests.
    steps.step("build", || cargo::run(workspace().arg("--no-run")))?;
    for (name, targets, told) in [&UNIT].into_iter().chain(KERNEL) {
        steps.step(name, || {
            let mut command = workspace();
            command.args(*targets).arg("--").args(*told).args(filters).env("TRACER_BIN", binary("tracer"));
            cargo::run(&mut command)
        })?;
    }
    Ok(())
}

/// The pure core, compiled without anything that touches a machine.
fn core(filters: &[String]) -> Result<()> {
    cargo::run(cargo(["test", "--package", "tracer", "--no-default-features", "--"]).args(filters))
}

fn workspace() -> Command {
    cargo(["test", "--workspace", "--exclude", "tracer-ebpf"])
}

/// A program that the build has made.
pub(crate) fn binary(name: &str) -> PathBuf {
    cargo::target_dir().join("debug").join(name)
}
