//! What is in `deploy/`: what is generated, and what is checked with the tools that people will use on it.

use anyhow::Result;

use crate::{dashboards, setup};

pub(crate) mod container;
pub(crate) mod image;
pub(crate) mod manifests;
pub(crate) mod node;
mod rules;
mod tools;

/// Writes what is generated, so that a difference shows, and checks it with the real programs.
pub(crate) fn check() -> Result<()> {
    setup::deploy()?;
    dashboards::write()?;
    manifests::write()?;
    manifests::check()?;
    rules::check()
}
