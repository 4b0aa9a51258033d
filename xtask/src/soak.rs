//! `cargo xtask soak`: builds the tracer and the test cluster, and hands over to `tracer-soak`.

use std::path::Path;

use anyhow::Result;
use clap::Args;

use crate::cargo::{self, cargo};
use crate::{setup, test};

#[derive(Args)]
pub(crate) struct Soak {
    /// How long; the first third is the warm-up
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(4..=1440))]
    minutes: u64,
}

impl Soak {
    pub(crate) fn run(&self) -> Result<()> {
        setup::run(setup::Report::WhenInstalling)?;
        // What a debug build uses says little.
        cargo::run(&mut cargo(["build", "--release", "--package", "tracer", "--bin", "tracer"]))?;
        cargo::run(&mut cargo(["build", "--package", "tracer-tests", "--bins"]))?;
        let mut command = cargo::program(Path::new(&test::binary("tracer-soak")));
        command.arg("--tracer").arg(cargo::target_dir().join("release/tracer"));
        cargo::run(command.args(["--seconds", &(self.minutes * 60).to_string()]))
    }
}
