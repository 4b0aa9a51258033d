//! `cargo xtask storm`: builds the tracer and the test cluster, and hands over to `tracer-storm`, whose standard output it
//! is.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::cargo;
use crate::{Output, demo, fail, test};

/// The storm of `cargo xtask ci`.
const SEED: u64 = 1;
const SECONDS: u64 = 60;
/// A busy machine may keep the tracer from seeing what it needs; it has to say so then. A quiet one has 5.
const UNKNOWN_PERCENT: &str = "10";
/// `tracer-storm`'s exit code where it can't run.
const CANT_RUN: i32 = 3;

#[derive(Args)]
pub(crate) struct Storm {
    /// Chooses what breaks where and when
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long it lasts, in seconds
    #[arg(long, default_value = "60s", value_parser = seconds)]
    duration: u64,
    /// Only these scenarios, by name
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// What to print on standard output
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

impl Storm {
    /// The storm's own exit code (1 where a target is missed), or 1 when it couldn't be started.
    pub(crate) fn run(&self) -> ExitCode {
        let status = demo::prepare().and_then(|()| self.command().status().context("can't start `tracer-storm`"));
        match status {
            // A signal leaves no code.
            Ok(status) => ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
            Err(error) => fail(&error),
        }
    }

    /// A storm as a step of a longer run, with what the tests have built. A machine that was too busy for one gets a second
    /// chance; what the tracer says wrongly doesn't.
    pub(crate) fn check() -> Result<()> {
        let storm = Self { seed: SEED, duration: SECONDS, only: vec![], output: Output::Text };
        let mut command = storm.command();
        command.args(["--unknown-percent", UNKNOWN_PERCENT]);
        match command.status().context("can't start `tracer-storm`")?.code() {
            Some(0) => Ok(()),
            Some(CANT_RUN) => cargo::run(&mut command),
            code => bail!("the storm's targets are missed (exit code {code:?})"),
        }
    }

    fn command(&self) -> Command {
        let mut command = cargo::program(Path::new(&test::binary("tracer-storm")));
        command.arg("--tracer").arg(test::binary("tracer"));
        command.args(["--seed", &self.seed.to_string(), "--seconds", &self.duration.to_string()]);
        command.args(self.only.iter().flat_map(|name| ["--only", name]));
        if self.output == Output::Json {
            command.args(["-o", "json"]);
        }
        command
    }
}

fn seconds(text: &str) -> Result<u64> {
    let Some(seconds) = text.strip_suffix('s').and_then(|digits| digits.parse().ok()).filter(|s| *s >= 20) else {
        bail!("give whole seconds, at least 20, as in `60s`");
    };
    Ok(seconds)
}
