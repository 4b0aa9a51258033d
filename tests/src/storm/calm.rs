//! Healthy traffic: through every pod of the sites that has no part in what is broken there, from site to site, so that
//! processes which serve failing requests serve others at the same time.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::{Chance, Site, site::idle_pod};
use crate::{
    app::{Call, Route},
    cluster::{Cluster, ClusterSpec, Plan},
    scenario::{Expected, Fault},
    server::Server,
};

pub const NAMESPACE: &str = "calm";
const LEAF: &str = "/calm-leaf";
const CHAIN: &str = "/calm";
/// A client runs no longer than this at a time, since every command is bounded.
const ROUND: Duration = Duration::from_secs(10);
/// Patient enough for a busy machine: what fails here fails the storm.
const PATIENCE_MS: u64 = 20_000;

/// Adds a client and the routes; the URLs that it may call.
pub fn prepare(cluster: &mut ClusterSpec, sites: &[Site], chance: &mut Chance) -> Result<Vec<String>> {
    cluster.pods.push(idle_pod("client", NAMESPACE)?);
    let plan = Plan::new(cluster, "calm")?;
    let mut healthy: Vec<(usize, String)> = vec![];
    for service in &plan.services {
        let &[matched] = service.matched.as_slice() else { continue };
        let pod = &plan.pods[matched];
        let Server::App { port, .. } = pod.spec.server else { continue };
        let reachable = pod.spec.ready && service.target_port() == port && !pod.spec.on_dead_node;
        let site = sites.iter().find(|site| site.has(&pod.spec.namespace));
        if reachable && site.is_some_and(|site| !takes_part(site, &pod.spec.name)) {
            let (name, namespace, port) = (&service.spec.name, &service.spec.namespace, service.spec.port);
            // The plan's first pod is the DNS server, which the specification doesn't have.
            healthy.push((matched - 1, format!("http://{name}.{namespace}:{port}")));
        }
    }
    let bases: Vec<String> = healthy.iter().map(|(_, base)| base.clone()).collect();
    for (index, own) in &healthy {
        let Server::App { routes, .. } = &mut cluster.pods[*index].server else { continue };
        routes.insert(LEAF.into(), Route { delay_ms: chance.below(20) as u64, ..Route::default() });
        let calls = (0..=chance.below(2)).filter_map(|_| chance.pick(&bases)).filter(|base| *base != own);
        // A pod that calls its own Service gets its own address for the caller's: that needs a masquerade.
        let calls = calls.map(|base| call(&format!("{base}{LEAF}")));
        let calls = calls.collect::<Result<Vec<_>>>()?;
        routes.insert(CHAIN.into(), Route { calls, ..Route::default() });
    }
    Ok(bases.into_iter().map(|base| format!("{base}{CHAIN}")).collect())
}

fn call(url: &str) -> Result<Call> {
    Ok(serde_json::from_value(serde_json::json!({
        "url": url, "connect_timeout_ms": PATIENCE_MS, "read_timeout_ms": PATIENCE_MS,
    }))?)
}

/// Whether a pod is named by what is broken or by what is expected to be blamed.
fn takes_part(site: &Site, pod: &str) -> bool {
    let faults = serde_json::to_string::<Vec<Fault>>(&site.scenario.faults).unwrap_or_default();
    let broken = faults.contains(&format!("/{pod}\""));
    // An application that answers with an error is well otherwise; any other may be anything.
    let blames = |expected: &Expected| {
        let text = serde_json::to_string(&expected.origin).unwrap_or_default();
        expected.cause != "app-error" && (text.contains(&format!("/{pod}\"")) || text.contains(&format!("/{pod}}}")))
    };
    broken || site.scenario.expect.iter().any(blames)
}

/// What the pods' logs say of healthy calls.
fn complaints(cluster: &Cluster) -> String {
    let logs = cluster.plan.pods.iter().map(|pod| {
        let name = format!("{}/{}", pod.spec.namespace, pod.spec.name);
        let log = cluster.log(&name);
        let lines = log.lines().filter(|line| line.contains(CHAIN)).take(3);
        lines.map(|line| format!("\n  {name}: {line}")).collect::<String>()
    });
    logs.collect()
}

/// Sends until the deadline; how many requests were answered.
pub fn drive(cluster: &Cluster, urls: &[String], deadline: Instant, seed: u64) -> Result<u32> {
    let mut chance = Chance::new(seed);
    let mut answered = 0;
    while Instant::now() < deadline && !urls.is_empty() {
        let mut urls = urls.to_vec();
        chance.shuffle(&mut urls);
        let number =
            (ROUND.min(deadline.saturating_duration_since(Instant::now())).as_millis() / 40).max(1).to_string();
        let mut words = vec!["-n", &number, "-c", "2", "--pause-ms", "50", "--timeout-ms", "20000"];
        words.extend(urls.iter().flat_map(|url| ["--url", url.as_str()]));
        let report = cluster.client(&format!("{NAMESPACE}/client"), &words).context("healthy traffic")?;
        anyhow::ensure!(
            report.results.keys().all(|result| result == "200"),
            "healthy traffic isn't healthy: {:?}: this machine is too busy for a storm, or the cluster is broken{}",
            report.results,
            complaints(cluster)
        );
        answered += report.count("200");
    }
    Ok(answered)
}
