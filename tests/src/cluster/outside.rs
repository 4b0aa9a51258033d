//! What is beyond the node's uplink: hosts outside the cluster, and the addresses of pods on a node that is gone.

use std::{fs, net::SocketAddr, path::Path, process::Child, time::Duration};

use anyhow::{Context as _, Result, bail};

use super::{
    Cluster,
    process::{serve, wait_listening},
};
use crate::run::{Place, app_binary};

/// The hosts outside, and silence in place of the pods of a dead node.
pub(super) fn start(cluster: &Cluster) -> Result<Vec<Child>> {
    let app = app_binary()?.display().to_string();
    let mut started = vec![];
    let mut hosts = vec![];
    for pod in cluster.plan.pods.iter().filter(|pod| pod.spec.on_dead_node) {
        let port = pod.spec.server.port().context("a pod on a dead node needs a server's port")?;
        hosts.push((pod.addresses.of(cluster.plan.family), port, None));
    }
    for host in &cluster.plan.outside {
        hosts.push((host.addresses.of(cluster.plan.family), host.spec.port, host.spec.routes.as_ref()));
    }
    for (number, (address, port, routes)) in hosts.into_iter().enumerate() {
        let listen = SocketAddr::new(address, port).to_string();
        let mut words = vec![app.clone()];
        if let Some(routes) = routes {
            let file = cluster.instance.directory().join(format!("outside-{number}.json"));
            fs::write(&file, serde_json::to_string(routes)?)?;
            words.extend(["serve", "--listen", &listen, "--routes"].map(str::to_owned));
            words.push(file.display().to_string());
        } else {
            words.extend(["blackhole", "--listen", &listen].map(str::to_owned));
        }
        let mut place = Place::namespaces_of(cluster.outside.id())?;
        place.cgroups = vec![cluster.instance.node_cgroup().join("cgroup.procs")];
        let log = cluster.instance.directory().join(format!("outside-{number}.log"));
        let mut child = serve(place, &words, &log)?;
        wait_listening(&mut child, port, &log)?;
        if routes.is_none() {
            wait_for_text(&log, "queue filled")?;
        }
        started.push(child);
    }
    Ok(started)
}

fn wait_for_text(log: &Path, text: &str) -> Result<()> {
    for _ in 0..1000 {
        if fs::read_to_string(log)?.contains(text) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    bail!("{} never said {text}", log.display())
}
