//! Scenarios: a cluster, what is broken in it, traffic, and what the tracer must say, as data.

pub mod expect;
mod nodes;
pub mod runner;

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

pub use self::{
    expect::Expected,
    runner::{Outcome, State, run},
};
use crate::{
    cluster::{ClusterSpec, Volume},
    firewall::{FirewallRule, Isolation},
};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What happens, in one sentence.
    pub summary: String,
    pub cluster: ClusterSpec,
    /// Besides what is wrong with the cluster as it is.
    #[serde(default)]
    pub faults: Vec<Fault>,
    pub traffic: Vec<Traffic>,
    /// All traffic at the same time.
    #[serde(default)]
    pub at_once: bool,
    #[serde(default)]
    pub expect: Vec<Expected>,
    /// The second node's clock is that far ahead.
    #[serde(default)]
    pub clock_ahead_ms: i64,
    /// A control: nothing may be reported.
    #[serde(default)]
    pub none: bool,
    /// What it breaks would break others of the [storm](crate::storm), too.
    #[serde(default)]
    pub storm_excluded: bool,
    /// Failures that can't be linked for certain may be reported as `unknown`.
    #[serde(default)]
    pub allow_unknown: bool,
    /// What happens to the API server and its objects; with it the cluster's state always comes from there.
    #[serde(default)]
    pub api: Vec<ApiChange>,
    /// Words that an incident's coverage notes must hold.
    #[serde(default)]
    pub notes: Vec<String>,
}

impl Scenario {
    pub fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let scenario: Self = serde_yaml_ng::from_str(&text).with_context(|| file.display().to_string())?;
        if scenario.none != scenario.expect.is_empty() {
            bail!("{}: either incidents are expected or `none: true`", file.display());
        }
        Ok(scenario)
    }
}

/// What is done to the running cluster before the traffic.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Fault {
    Isolate(Isolation),
    Firewall(FirewallRule),
    /// The pod has only these local ports for its connects.
    LocalPorts {
        pod: String,
        low: u16,
        high: u16,
    },
    /// A pod gets a volume, which may have no room, or fail.
    Volume(Volume),
    /// A DNS server's process is stopped: queries arrive and nobody answers.
    StopDns {
        #[serde(default = "coredns")]
        pod: String,
    },
    /// The kubelet begins to probe.
    StartKubelet,
}

/// What happens to the API server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ApiChange {
    /// It goes away, after the tracer's start and before the faults.
    Stop,
    /// The client's role doesn't allow it.
    Forbid { resource: String },
    /// After the traffic a pod is gone and its address another pod's, of a name given.
    Replace { pod: String, by: String },
    /// Watches break after so many events.
    Break { after: usize },
}

/// One run of the load client.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    #[serde(default = "client")]
    pub from: String,
    pub urls: Vec<String>,
    #[serde(default = "three")]
    pub number: u32,
    #[serde(default = "one")]
    pub concurrency: u32,
    #[serde(default)]
    pub ids: bool,
    #[serde(default)]
    pub keep_alive: bool,
    #[serde(default)]
    pub hang_up_ms: Option<u64>,
    #[serde(default)]
    pub idle_ms: u64,
    /// Between two requests.
    #[serde(default)]
    pub pause_ms: u64,
    /// What the client must have seen, for the scenario to be what it says.
    pub results: BTreeMap<String, u32>,
}

fn coredns() -> String {
    "coredns".into()
}
fn client() -> String {
    "client".into()
}
fn three() -> u32 {
    3
}
fn one() -> u32 {
    1
}
