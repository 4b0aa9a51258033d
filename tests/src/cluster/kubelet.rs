//! The node's kubelet as far as probes go: a process of that name in the node's network namespace and in a service's
//! cgroup beside the pods'.

use std::{fs, net::SocketAddr, os::unix::fs::symlink, process::Child, time::Duration};

use anyhow::{Context as _, Result};

use super::{Cluster, process::serve, spec::Probe};
use crate::{
    app::kubelet::Probing,
    run::{Place, app_binary},
};

pub(super) fn start(cluster: &Cluster) -> Result<Child> {
    let mut probes = vec![];
    for pod in &cluster.pods {
        let plan = &cluster.plan.pods[pod.index];
        let address = plan.addresses.of(cluster.plan.family);
        for (kind, probe) in &plan.spec.probes {
            let Probe { http_get, tcp_socket, period_seconds, timeout_seconds, failure_threshold } = probe;
            let port = http_get.as_ref().map(|get| get.port).or(tcp_socket.map(|socket| socket.port));
            let server = pod.server.as_ref().map(Child::id).filter(|_| kind == "livenessProbe");
            probes.push(Probing {
                address: SocketAddr::new(address, port.context("a probe needs httpGet or tcpSocket")?),
                path: http_get.as_ref().map(|get| get.path.clone()),
                period: Duration::from_secs(*period_seconds),
                timeout: Duration::from_secs(*timeout_seconds),
                threshold: *failure_threshold,
                kill: server.map(i32::try_from).transpose()?,
            });
        }
    }
    let directory = cluster.instance.directory();
    let file = directory.join("probes.json");
    fs::write(&file, serde_json::to_string(&probes)?)?;
    // The kernel names a process after the path that was executed.
    let program = directory.join("kubelet");
    symlink(app_binary()?, &program)?;
    let cgroup = cluster.instance.pods_cgroup().join("system.slice/kubelet.service");
    fs::create_dir_all(&cgroup)?;
    let mut place = Place::network_of(cluster.node.id())?;
    place.cgroups = vec![cgroup.join("cgroup.procs")];
    let words = [program.display().to_string(), "kubelet".into(), "--probes".into(), file.display().to_string()];
    serve(place, &words, &directory.join("kubelet.log"))
}
