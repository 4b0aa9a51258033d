//! `cargo xtask linking`: builds an optimised tracer (an unoptimised one loses what it can't read in time), the test cluster
//! and a server in Go, and hands over to `tracer-linking`, whose standard output it is.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::cargo::{self, cargo};
use crate::{Output, fail, setup, test};

#[derive(Args)]
pub(crate) struct Linking {
    /// Only this way of serving, as the table calls it
    #[arg(long)]
    model: Vec<String>,
    /// Only so many requests in flight
    #[arg(long)]
    concurrency: Vec<usize>,
    /// Requests in a row of the table
    #[arg(long)]
    requests: Option<usize>,
    /// What to print on standard output
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

impl Linking {
    /// The measurement's own exit code (1 where a row isn't as it must be), or 1 when it couldn't be started.
    pub(crate) fn run(&self) -> ExitCode {
        match prepare().and_then(|()| self.command("release").status().context("can't start `tracer-linking`")) {
            // A signal leaves no code.
            Ok(status) => ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
            Err(error) => fail(&error),
        }
    }

    /// A few rows as a step of a longer run, with what the tests have built: an unoptimised tracer, so with few requests in
    /// flight.
    pub(crate) fn check() -> Result<()> {
        let model = ["thread-per-request", "event-loop", "nginx"].map(str::to_owned).to_vec();
        let few = Self { model, concurrency: vec![10], requests: Some(400), output: Output::Text };
        cargo::run(&mut few.command("debug"))
    }

    fn command(&self, profile: &str) -> Command {
        let mut command = cargo::program(Path::new(&test::binary("tracer-linking")));
        command.arg("--tracer").arg(cargo::target_dir().join(profile).join("tracer"));
        command.args(self.model.iter().flat_map(|model| ["--model", model]));
        command.args(self.concurrency.iter().flat_map(|number| ["--concurrency".to_owned(), number.to_string()]));
        command.args(self.requests.iter().flat_map(|number| ["--requests".to_owned(), number.to_string()]));
        if self.output == Output::Json {
            command.args(["-o", "json"]);
        }
        command
    }
}

fn prepare() -> Result<()> {
    setup::run(setup::Report::WhenInstalling)?;
    setup::go()?;
    cargo::run(&mut cargo(["build", "--package", "tracer-tests", "--bins"]))?;
    cargo::run(&mut cargo(["build", "--release", "--package", "tracer", "--bins"]))?;
    let mut go = cargo::program(Path::new("go"));
    // One file and the standard library: no module, thus nothing to download.
    go.args(["build", "-o"]).arg(test::binary("tracer-go-app")).arg(cargo::root().join("tests/go/server.go"));
    go.env("GO111MODULE", "off").env("GOCACHE", cargo::target_dir().join("go")).env("GOFLAGS", "");
    cargo::run(&mut go)
}
