//! A scenario on two nodes: a tracer on each writes a capture, and `tracer explain` makes one story of both.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{Scenario, expect};
use crate::{
    capture::{self, Capture, Incidents},
    cluster::Cluster,
    run::{Place, checked},
};

/// A running tracer on each node.
pub(super) struct Captures([Capture; 2]);

fn file(cluster: &Cluster, second: bool) -> std::path::PathBuf {
    cluster.instance.directory().join(if second { "second.ndjson" } else { "first.ndjson" })
}

impl Captures {
    pub(super) fn start(tracer: &Path, cluster: &Cluster) -> Result<Self> {
        let start = |second| {
            let file = file(cluster, second);
            let log = file.with_extension("log");
            Capture::run(capture::command_of_node(tracer, cluster, second, &file)?, log, false)
        };
        Ok(Self([start(false)?, start(true)?]))
    }

    /// What is wrong with the story, in whatever order the captures are named, and the incidents.
    pub(super) fn finish(
        self,
        tracer: &Path,
        cluster: &Cluster,
        scenario: &Scenario,
        settle: Duration,
    ) -> Result<(Vec<String>, Vec<Value>)> {
        let Self([mut first, second]) = self;
        first.wait(settle, |_| false)?;
        let told = [first.finish()?, second.finish()?];
        let files = [false, true].map(|second| file(cluster, second));
        for (second, ahead_ms) in [(false, 0), (true, scenario.clock_ahead_ms)] {
            make_own(&files[usize::from(second)], &cluster.network_namespaces(!second)?, ahead_ms)?;
        }
        let mut problems = vec![];
        let mut last = vec![];
        for order in [[0, 1], [1, 0]] {
            let names = order.map(|which| files[which].display().to_string());
            let tracer = tracer.to_str().context("a path that is not UTF-8")?;
            let text = checked(Place::default(), tracer, &["explain", &names[0], &names[1], "-o", "json"], "")?;
            let seen = Incidents::read(&text)?;
            problems.extend(expect::problems(&cluster.plan, &scenario.expect, scenario.allow_unknown, &seen)?);
            last = seen.iter().cloned().collect();
        }
        if !problems.is_empty() {
            for (node, told) in told.iter().enumerate() {
                problems.extend(told.iter().map(|incident| format!("the tracer of node {} said {incident}", node + 1)));
            }
        }
        Ok((problems, last))
    }
}

/// Makes the capture one of a machine of its own: without what this one kernel saw in the other node's network namespaces
/// (packets that die have no cgroup to select by), and with a clock that is ahead.
fn make_own(file: &Path, foreign: &[u64], ahead_ms: i64) -> Result<()> {
    let text = fs::read_to_string(file)?;
    let (header, rest) = text.split_once('\n').context("a capture without a header")?;
    let mut header: Value = serde_json::from_str(header)?;
    let offset = header["wall_offset_ns"].as_i64().context("a capture without a clock")? + ahead_ms * 1_000_000;
    header["wall_offset_ns"] = offset.into();
    header["options"]["wall_offset_ns"] = offset.into();
    let mut own = format!("{header}\n");
    for line in rest.lines() {
        let record: Value = serde_json::from_str(line)?;
        if !record["netns"].as_u64().is_some_and(|netns| foreign.contains(&netns)) {
            own.push_str(line);
            own.push('\n');
        }
    }
    Ok(fs::write(file, own)?)
}
