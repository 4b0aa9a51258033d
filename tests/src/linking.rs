//! How well calls are linked to requests: chains of three hops whose last one is a leaf that the driver chose for each
//! request. Which, stands in the query, that the tracer doesn't keep; the path names the request, so that each has an
//! incident of its own.

use std::{collections::HashMap, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    capture::{self, Capture},
    cluster::{Cluster, ClusterSpec},
};

/// Leaves that fail; a wrong link hits the right one by chance once in so many times.
const LEAVES: usize = 16;
/// Of so many requests one goes well.
const WELL: usize = 4;
const SETTLE: Duration = Duration::from_secs(3);
/// A client's command line takes no more addresses than this.
const BATCH: usize = 1000;

/// How the first two hops serve.
pub const MODELS: [&str; 7] =
    ["thread-per-request", "connection-pool", "thread-pool", "event-loop", "go", "nginx", "haproxy"];

#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub concurrency: usize,
    pub ids: bool,
    pub requests: usize,
}

/// One line of the table: failed requests, and what was said of each.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Row {
    pub model: String,
    pub concurrency: usize,
    pub ids: bool,
    pub requests: usize,
    pub right: usize,
    pub wrong: usize,
    pub abstained: usize,
}

impl Row {
    /// What must hold: never wrong, and right as often as the links that there are allow.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let least = match (self.ids, self.model.as_str()) {
            (true, _) => 0.999,
            (false, "thread-per-request") => 0.99,
            _ => 0.0,
        };
        self.wrong == 0 && self.right as f64 >= least * self.requests as f64
    }
}

/// The chain of a model.
pub fn cluster(model: &str) -> Result<ClusterSpec> {
    let leaves: Vec<String> = (0..LEAVES).map(|leaf| format!("leaf-{leaf}")).chain(["well".to_owned()]).collect();
    let pooled = ["connection-pool", "go"].contains(&model);
    let routes = |next: &dyn Fn(&str) -> String| {
        let calls = leaves.iter().map(|leaf| {
            json!({"url": next(leaf), "when": format!("leaf={leaf}"), "on_failure": 502, "keep_alive": pooled,
                   "connect_timeout_ms": 30_000, "read_timeout_ms": 30_000})
        });
        json!({"*": {"calls": calls.collect::<Vec<_>>()}})
    };
    let to_middle = routes(&|leaf| format!("http://${{svc:shop/middle}}/to-{leaf}?leaf={leaf}"));
    let to_leaf = routes(&|leaf| format!("http://${{svc:shop/{leaf}}}/x"));
    let app = |routes: Value| match model {
        "go" => json!({"kind": "go", "port": 8080, "routes": routes}),
        "thread-pool" | "event-loop" => json!({"kind": "app", "port": 8080, "model": model, "routes": routes}),
        _ => json!({"kind": "app", "port": 8080, "routes": routes}),
    };
    let entry = match model {
        "nginx" => json!({"kind": "nginx", "port": 8080, "keep_alive": true,
                          "locations": [{"path": "/", "to": "shop/middle", "connect_timeout_ms": 30_000, "read_timeout_ms": 30_000}]}),
        "haproxy" => json!({"kind": "haproxy", "port": 8080, "connect_timeout_ms": 30_000, "server_timeout_ms": 30_000,
                            "routes": [{"path": "/", "to": "shop/middle"}]}),
        _ => app(to_middle),
    };
    let mut pods = vec![
        json!({"name": "client", "kind": "Job"}),
        json!({"name": "entry", "server": entry}),
        json!({"name": "middle", "server": app(to_leaf)}),
    ];
    let mut services = vec![];
    for (number, leaf) in leaves.iter().enumerate() {
        let status = if leaf == "well" { 200 } else { 500 };
        let route = json!({"status": status, "delay_ms": 2 + number});
        pods.push(json!({"name": leaf, "server": {"kind": "app", "port": 8080, "routes": {"/x": route}}}));
    }
    for name in ["entry", "middle"].into_iter().chain(leaves.iter().map(String::as_str)) {
        services.push(json!({"name": name, "port": 80, "target_port": 8080}));
    }
    Ok(serde_json::from_value(json!({"pods": pods, "services": services}))?)
}

/// Sends the requests under a tracer and compares.
pub fn measure(cluster: &Cluster, tracer: &Path, model: &str, load: Load, number: usize) -> Result<Row> {
    let Load { concurrency, ids, requests } = load;
    // Words that aren't taken for ids, of which the path's template would have the same for all.
    let name = |request: usize| format!("/r{number}-q{request}x");
    let leaf = |request: usize| {
        if request.is_multiple_of(WELL) { None } else { Some((request.wrapping_mul(40_503) >> 3) % LEAVES) }
    };
    let entry = cluster.plan.service_address("shop/entry")?;
    let url = |request: usize| {
        let leaf = leaf(request).map_or_else(|| "well".to_owned(), |leaf| format!("leaf-{leaf}"));
        format!("http://{entry}{}?leaf={leaf}", name(request))
    };
    let log = cluster.instance.directory().join(format!("tracer-{number}.log"));
    let mut capture = Capture::run(capture::command_for(tracer, cluster, "json", 600)?, log, false)?;
    for from in (0..requests).step_by(BATCH) {
        let urls: Vec<String> = (from..requests.min(from + BATCH)).map(url).collect();
        let (count, at_once) = (urls.len().to_string(), concurrency.to_string());
        let mut words = vec!["-n", &count, "-c", &at_once, "--timeout-ms", "60000"];
        words.extend(ids.then_some("--ids"));
        words.extend(urls.iter().flat_map(|url| ["--url", url.as_str()]));
        let report = cluster.client("client", &words)?;
        let well = (from..requests.min(from + BATCH)).filter(|request| leaf(*request).is_none()).count();
        let failed = urls.len() - well;
        ensure!(
            report.count("200") as usize == well && report.count("502") as usize == failed,
            "{model}: the client saw {:?}, not {well} times 200 and {failed} times 502",
            report.results
        );
    }
    capture.wait(SETTLE, |_| false)?;
    let seen = capture.finish()?;
    // A gateway passes the path on: what is said of its upstream alone isn't said of the client's request.
    let (outer, inner): (Vec<&Value>, Vec<&Value>) =
        seen.iter().partition(|incident| incident["path"][0]["workload"] == "Job/client");
    let path = |incident: &&'_ Value| incident["symptom"]["path"].as_str().unwrap_or_default().to_owned();
    let said: HashMap<String, &Value> = outer.iter().map(|incident| (path(incident), *incident)).collect();
    let mut row = Row { model: model.to_owned(), concurrency, ids, ..Row::default() };
    for request in 0..requests {
        let incident = said.get(&name(request));
        let Some(leaf) = leaf(request) else {
            row.wrong += usize::from(incident.is_some());
            continue;
        };
        row.requests += 1;
        match incident {
            Some(incident) if is(incident, leaf) => row.right += 1,
            Some(incident) if incident["cause"]["id"] != "unknown" => row.wrong += 1,
            _ => row.abstained += 1,
        }
    }
    let leaves: HashMap<String, usize> = (0..requests).filter_map(|r| Some((name(r), leaf(r)?))).collect();
    for incident in inner {
        let path = path(&incident);
        let meant = match path.strip_prefix("/to-leaf-") {
            Some(leaf) => Some(leaf.parse().with_context(|| format!("an inner hop to {path}"))?),
            None => leaves.get(&path).copied(),
        };
        // What is said of a leaf's own request must blame a leaf that fails.
        let right = match meant {
            Some(leaf) => is(incident, leaf),
            None => path == "/x" && (0..LEAVES).any(|leaf| is(incident, leaf)),
        };
        if incident["cause"]["id"] != "unknown" && !right {
            row.wrong += usize::try_from(incident["count"].as_u64().unwrap_or(1))?;
        }
    }
    Ok(row)
}

fn is(incident: &Value, leaf: usize) -> bool {
    let cause = &incident["cause"];
    cause["id"] == "app-error" && cause["origin"]["workload"] == format!("Deployment/leaf-{leaf}")
}
