//! `cargo xtask dashboards`: Grafana's dashboards as code. The same code gives the same bytes, wherever it runs.

use std::fs;

use anyhow::{Context as _, Result};

use crate::cargo;
use model::Dashboard;

mod agent;
mod dns;
mod expr;
mod json;
mod model;
mod network;
mod overview;
mod service;
#[cfg(test)]
mod tests;

/// Where readers find `docs/`. Nobody's address, to be replaced by one's own: the chart's `docsUrl` does that.
pub(crate) const DOCS: &str = "https://tracer.example/docs";

pub(crate) fn all() -> [Dashboard; 5] {
    [overview::dashboard(), service::dashboard(), network::dashboard(), dns::dashboard(), agent::dashboard()]
}

/// Writes `deploy/grafana`.
pub(crate) fn write() -> Result<()> {
    for dashboard in all() {
        let path = cargo::root().join("deploy/grafana").join(format!("{}.json", dashboard.name));
        fs::write(&path, json::text(&dashboard)?).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
