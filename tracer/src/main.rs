//! The command line: parse, run, say what went wrong, exit with what it means.

use std::process::ExitCode;

use clap::Parser;
use tracer::cli::{Cli, Exit, failure};

fn main() -> ExitCode {
    tracer::heap::keep_together();
    // Usage errors end here with 2, help and version with 0.
    let cli = Cli::parse();
    tracer::cli::log();
    match cli.run() {
        Ok(exit) => exit.into(),
        Err(error) if failure::is_broken_pipe(&error) => Exit::Fine.into(),
        Err(error) => {
            failure::report(&error);
            failure::exit(&error).into()
        }
    }
}
