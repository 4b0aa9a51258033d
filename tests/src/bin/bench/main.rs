//! `tracer-bench`: what the tracer costs beside real servers under load. Every number is a ratio of a run with it and the
//! runs without it right before and after: machines, neighbours and clocks change slower than that.

mod bpf;
mod exchange;
mod http;
mod load;
mod pairs;
mod peer;
mod report;
mod serve;
mod site;
mod tracer;
mod work;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use tracer_tests::cluster::clean_up_on_signals;

/// What the tracer costs
#[derive(Parser)]
#[command(name = "tracer-bench")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Beside servers under load
    Http(http::Http),
    /// Generates load; the benchmark starts itself so
    #[command(hide = true)]
    Load(load::Load),
    /// Answers load; the benchmark starts itself so
    #[command(hide = true)]
    Serve(serve::Serve),
    /// Holds namespaces open
    #[command(hide = true)]
    Pause,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(3)
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Http(http) => clean_up_on_signals().and_then(|()| http.run()),
        Command::Load(load) => load.run(),
        Command::Serve(serve) => serve.run(),
        Command::Pause => loop {
            std::thread::park();
        },
    }
}
