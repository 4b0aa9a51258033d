//! Which scenarios take part, and where.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context as _, Result, bail};

use super::{
    Chance,
    place::{SHARED, place},
    relay::relay,
};
use crate::{
    cluster::{
        ClusterSpec, Family,
        spec::{CgroupDriver, PodSpec},
    },
    scenario::{Fault, Scenario},
};

/// What the addresses of one cluster leave room for, and a small machine can run.
const PODS: usize = 190;

/// A scenario in namespaces of its own.
#[derive(Clone, Debug)]
pub struct Site {
    pub name: String,
    pub scenario: Scenario,
}

impl Site {
    /// Whether a namespace is the site's.
    #[must_use]
    pub fn has(&self, namespace: &str) -> bool {
        !SHARED.contains(&namespace) && self.namespaces().contains(namespace)
    }

    fn namespaces(&self) -> BTreeSet<&str> {
        let ClusterSpec { pods, services, .. } = &self.scenario.cluster;
        let services = services.iter().map(|service| service.namespace.as_str());
        pods.iter().map(|pod| pod.namespace.as_str()).chain(services).collect()
    }

    /// Whether its traffic finds the same state a second time.
    #[must_use]
    pub fn repeats(&self) -> bool {
        let text = serde_json::to_string(&self.scenario.cluster.pods).unwrap_or_default();
        // Processes that die, limits that fill up, and connections that aren't fresh any more.
        !["\"misbehave\":\"", "_limit", "keep_alive\":true"].iter().any(|word| text.contains(word))
    }
}

/// All scenarios of a directory that can share a cluster, by name.
pub fn candidates(directory: &Path) -> Result<BTreeMap<String, Scenario>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let scenario = Scenario::read(&path)?;
            if shares(&scenario) {
                found.insert(path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), scenario);
            }
        }
    }
    Ok(found)
}

/// Whether what it breaks is its own: not the cluster's DNS, nor the node, nor how the whole cluster is made.
fn shares(scenario: &Scenario) -> bool {
    let ClusterSpec { ip, cgroups, dns_not_ready, masquerade, forwarded_zones, .. } = &scenario.cluster;
    let own_dns = *dns_not_ready || !forwarded_zones.is_empty();
    let own_cluster = *ip != Family::V4 || *cgroups != CgroupDriver::Systemd || own_dns || *masquerade;
    let text = serde_json::to_string(&scenario.cluster).unwrap_or_default();
    let node_object = text.contains("\"kind\":\"Node\"");
    let faults = serde_json::to_string(&scenario.faults).unwrap_or_default();
    let dns = text.contains("kube-system") || faults.contains("coredns");
    let everybodys = |fault: &Fault| match fault {
        Fault::StopDns { .. } => true,
        Fault::Firewall(rule) => rule.pod.is_none() && rule.to.is_none(),
        _ => false,
    };
    !own_cluster
        && !scenario.storm_excluded
        // Nor what is told from an API server, nor what can't be told apart even when it is quiet.
        && scenario.api.is_empty()
        && !scenario.allow_unknown
        && !node_object
        && !dns
        && !scenario.cluster.has_second_node()
        && !scenario.faults.iter().any(everybodys)
}

/// One scenario of every set of causes, then controls, then others, while there is room.
pub fn choose(candidates: &BTreeMap<String, Scenario>, chance: &mut Chance, only: &[String]) -> Result<Vec<Site>> {
    let mut groups: BTreeMap<String, Vec<&String>> = BTreeMap::new();
    for (name, scenario) in candidates.iter().filter(|(name, _)| only.is_empty() || only.contains(name)) {
        let causes: BTreeSet<&str> = scenario.expect.iter().map(|expected| expected.cause.as_str()).collect();
        let group = if scenario.none { name.clone() } else { causes.into_iter().collect::<Vec<_>>().join(" ") };
        groups.entry(group).or_default().push(name);
    }
    let (mut first, mut controls, mut others) = (vec![], vec![], vec![]);
    for mut names in groups.into_values() {
        chance.shuffle(&mut names);
        let one = names.pop();
        let control = one.is_some_and(|name| candidates[name].none);
        (if control { &mut controls } else { &mut first }).extend(one);
        others.extend(names);
    }
    for names in [&mut first, &mut controls, &mut others] {
        chance.shuffle(names);
    }
    let mut sites: Vec<Site> = vec![];
    let mut pods = 0;
    let mut shared = BTreeSet::new();
    for name in first.into_iter().chain(controls).chain(others) {
        let relayed = relay(&candidates[name], chance).context(name.clone())?;
        let fits = pods + relayed.cluster.pods.len() <= PODS;
        let scenario = if fits { &relayed } else { &candidates[name] };
        pods += scenario.cluster.pods.len();
        let services = scenario.cluster.services.iter().filter(|service| SHARED.contains(&service.namespace.as_str()));
        let mine: Vec<_> = services.map(|service| (service.namespace.clone(), service.name.clone())).collect();
        if mine.iter().any(|service| shared.contains(service)) || pods > PODS {
            pods -= scenario.cluster.pods.len();
            continue;
        }
        shared.extend(mine);
        let number = sites.len() + 1;
        sites.push(Site { name: name.clone(), scenario: place(scenario, number).context(name.clone())? });
    }
    if sites.is_empty() {
        bail!("no scenario fits");
    }
    chance.shuffle(&mut sites);
    Ok(sites)
}

/// The cluster of all of them.
#[must_use]
pub fn together(sites: &[Site]) -> ClusterSpec {
    let mut cluster = ClusterSpec::default();
    for site in sites {
        let spec = site.scenario.cluster.clone();
        cluster.pods.extend(spec.pods);
        cluster.services.extend(spec.services);
        cluster.policies.extend(spec.policies);
        cluster.objects.extend(spec.objects);
        cluster.outside.extend(spec.outside);
        cluster.servfail_zones.extend(spec.servfail_zones);
    }
    cluster
}

/// A pod with nothing but its name.
pub fn idle_pod(name: &str, namespace: &str) -> Result<PodSpec> {
    Ok(serde_json::from_value(serde_json::json!({"name": name, "namespace": namespace, "kind": "Job"}))?)
}
