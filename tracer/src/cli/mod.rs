//! The commands: one file each, no logic beyond wiring.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[cfg(feature = "agent")]
pub mod agent;
pub mod args;
pub mod capture;
#[cfg(feature = "agent")]
pub mod cluster;
pub mod doctor;
pub mod explain;
pub mod failure;
mod output;
pub mod policy;

/// What an exit code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Fine = 0,
    /// With `--fail-on-incident`.
    Incidents = 1,
    Usage = 2,
    /// Something of the environment is missing; the message says what, and how to get it.
    CannotRun = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

const AFTER_HELP: &str = "\
Exit codes: 0 fine, 1 incidents found with --fail-on-incident, 2 usage, 3 cannot run.
Results go to standard output, everything else to standard error.";

/// Says where and why a 5xx, a refused connection, a policy drop or a DNS timeout arose
#[derive(Debug, Parser)]
#[command(name = "tracer", version, after_help = AFTER_HELP, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Capture(capture::Capture),
    #[cfg(feature = "agent")]
    Agent(agent::Agent),
    #[cfg(feature = "agent")]
    Cluster(cluster::Cluster),
    Explain(explain::Explain),
    Policy(policy::PolicyArgs),
    Doctor(doctor::Doctor),
    /// Print the JSON schema of the lines of `-o json`
    #[command(hide = true)]
    Schema,
    /// Print the reference of the agent's metrics
    #[cfg(feature = "agent")]
    #[command(hide = true)]
    Metrics,
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// [`failure::exit`] says which exit code an error means.
    pub fn run(self) -> anyhow::Result<Exit> {
        match self.command {
            Command::Capture(capture) => capture.run(),
            #[cfg(feature = "agent")]
            Command::Agent(agent) => agent.run(),
            #[cfg(feature = "agent")]
            Command::Cluster(cluster) => cluster.run(),
            Command::Explain(explain) => explain.run(),
            Command::Doctor(doctor) => Ok(if doctor.run()? { Exit::Fine } else { Exit::CannotRun }),
            // A denied flow is an answer, not a failure: `allowed` says which.
            Command::Policy(policy) => Ok(policy::run(&policy, &mut io::stdout().lock()).map(|_answer| Exit::Fine)?),
            Command::Schema => {
                let mut out = io::stdout().lock();
                serde_json::to_writer_pretty(&mut out, &crate::sink::line::schema()).map_err(io::Error::from)?;
                writeln!(out)?;
                Ok(Exit::Fine)
            }
            #[cfg(feature = "agent")]
            Command::Metrics => {
                io::stdout().lock().write_all(crate::sink::prometheus::reference::markdown().as_bytes())?;
                Ok(Exit::Fine)
            }
        }
    }
}

/// Logs of the tracer itself to standard error: warnings, or what `TRACER_LOG` asks for.
pub fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("TRACER_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let format = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).without_time();
    // Only tests install another first.
    let _already_set = format.with_ansi(args::is_colored_stderr()).try_init();
}
