//! `cargo xtask demo`: builds the tracer and the test cluster, and hands over to `tracer-demo`. Standard output is the
//! demo's alone, so that `-o json` can be piped.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::cargo::{self, cargo};
use crate::{Output, fail, setup, test};

/// The demo's own exit code, or 1 when it couldn't be started.
pub(crate) fn run(output: Output) -> ExitCode {
    match prepare().and_then(|()| status(output)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => fail(&error),
    }
}

/// The demo as a step of a longer run, with what the tests have built: anything but 0 is an error.
pub(crate) fn check(output: Output) -> Result<()> {
    cargo::run(&mut demo(output))
}

pub(crate) fn prepare() -> Result<()> {
    setup::run(setup::Report::WhenInstalling)?;
    // In the profile that compiles fastest, since this is what people run first; the tracer has little to do here, and
    // the kernel programs are always optimised. Cargo's messages go to standard error.
    cargo::run(&mut cargo(["build", "--package", "tracer", "--package", "tracer-tests", "--bins"]))
}

fn status(output: Output) -> Result<u8> {
    let status = demo(output).status().context("can't start `tracer-demo`")?;
    // A signal leaves no code.
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

fn demo(output: Output) -> Command {
    let mut command = cargo::program(Path::new(&test::binary("tracer-demo")));
    command.arg("--tracer").arg(test::binary("tracer"));
    if output == Output::Json {
        command.args(["-o", "json"]);
    }
    command
}
