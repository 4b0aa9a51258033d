//! `tracer agent`: the DaemonSet's process.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use super::{Exit, args};
use crate::agent::config::{self, settings};

/// Observe this node without end: metrics, incidents over HTTP, export as traces
///
/// Ends with SIGTERM or Ctrl-C. Every setting of the file has a variable, too: TRACER_LISTEN for `listen`.
#[derive(Args, Debug)]
pub struct Agent {
    /// Configuration, YAML
    #[arg(long, value_name = "FILE", env = "TRACER_CONFIG")]
    config: Option<PathBuf>,
    /// Print the configuration that results, and end
    #[arg(long)]
    print_config: bool,
    /// Print the reference of the settings, and end
    #[arg(long, hide = true)]
    print_reference: bool,
}

impl Agent {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        let mut out = io::stdout().lock();
        if self.print_reference {
            out.write_all(settings::markdown().as_bytes())?;
            return Ok(Exit::Fine);
        }
        // A variable that is no text can't be a setting of ours.
        let variables =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let config = config::load(self.config.as_deref(), variables)?;
        if self.print_config {
            // JSON is YAML.
            serde_json::to_writer_pretty(&mut out, &config).map_err(io::Error::from)?;
            writeln!(out)?;
            return Ok(Exit::Fine);
        }
        drop(out);
        let snapshot = args::snapshot(&config.kube_dump)?.unwrap_or_default();
        crate::agent::run(config, snapshot)?;
        Ok(Exit::Fine)
    }
}
