//! The cluster's DNS: unbound, answering from what the cluster consists of.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use anyhow::Result;

use super::Server;
use crate::cluster::{
    Plan,
    spec::{PodSpec, ServiceSpec, TrafficPolicy, WorkloadKind},
};

/// The workload of the cluster's.
pub const NAME: &str = "kube-system/coredns";

/// The DNS server's pod, which every cluster has.
#[must_use]
pub fn pod(ready: bool) -> PodSpec {
    PodSpec {
        name: "coredns".into(),
        namespace: "kube-system".into(),
        kind: WorkloadKind::Deployment,
        labels: BTreeMap::from([("k8s-app".into(), "kube-dns".into())]),
        ready,
        memory_limit_mib: None,
        cpu_limit_millis: None,
        descriptor_limit: None,
        on_dead_node: false,
        on_second_node: false,
        probes: BTreeMap::new(),
        object: serde_json::Value::Null,
        server: Server::Dns,
    }
}

/// The Service whose address is in every pod's resolv.conf.
#[must_use]
pub fn service() -> ServiceSpec {
    ServiceSpec {
        name: "kube-dns".into(),
        namespace: "kube-system".into(),
        selector: Some(BTreeMap::from([("k8s-app".into(), "kube-dns".into())])),
        port: 53,
        target_port: None,
        internal_traffic_policy: TrafficPolicy::Cluster,
        backend: None,
    }
}

/// Everything unknown is NXDOMAIN; a zone whose file is empty is SERVFAIL.
pub fn configuration(directory: &Path, plan: &Plan, forwards: bool) -> Result<String> {
    let failing = || plan.servfail_zones.iter().filter(|zone| !(forwards && plan.forwarded_zones.contains_key(*zone)));
    let forwarded = || plan.forwarded_zones.iter().filter(|_| forwards);
    let directory = directory.display();
    let mut text = format!(
        "server:\n  directory: \"{directory}\"\n  chroot: \"\"\n  username: \"\"\n  pidfile: \"\"\n  use-syslog: no\n\
         \x20 logfile: \"\"\n  do-daemonize: no\n  num-threads: 1\n  interface: 0.0.0.0\n  interface: ::0\n\
         \x20 interface-automatic: no\n  access-control: 0.0.0.0/0 allow\n  access-control: ::0/0 allow\n\
         \x20 module-config: \"iterator\"\n  do-not-query-localhost: no\n  outgoing-range: 64\n  num-queries-per-thread: 64\n\
         \x20 msg-cache-size: 64k\n  rrset-cache-size: 64k\n  local-zone: \".\" static\n"
    );
    for (name, address) in &plan.names {
        let kind = if address.is_ipv4() { "A" } else { "AAAA" };
        let _ = writeln!(text, "  local-data: \"{name}. 5 IN {kind} {address}\"");
    }
    for zone in failing().chain(forwarded().map(|(zone, _)| zone)) {
        let _ = writeln!(text, "  local-zone: \"{zone}.\" transparent");
    }
    text.push_str("remote-control:\n  control-enable: no\n");
    for zone in failing() {
        let _ = write!(
            text,
            "auth-zone:\n  name: \"{zone}.\"\n  zonefile: \"empty.zone\"\n  for-downstream: yes\n\
             \x20 for-upstream: no\n  fallback-enabled: no\n"
        );
    }
    for (zone, pod) in forwarded() {
        let address = plan.pod(pod)?.addresses.of(plan.family);
        let _ = write!(text, "forward-zone:\n  name: \"{zone}.\"\n  forward-addr: {address}\n");
    }
    Ok(text)
}
