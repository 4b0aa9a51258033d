//! The agent and an API server: what it knows of the cluster, while that changes and before it is there.

use serde_json::{Value, json};
use tracer_tests::{apiserver::ApiServer, cluster::Cluster};

use super::{
    request, shop,
    support::{Agent, port, try_get, until},
};

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "shop", "name": name, "uid": name},
        "spec": {"nodeName": "n1", "containers": [{"name": "c"}]}, "status": {"phase": "Running"},
    })
}

/// In place of the dump.
fn kubeconfig(cluster: &Cluster, server: &ApiServer) -> String {
    let file = cluster.instance.directory().join("kubeconfig");
    server.write_kubeconfig(&file).unwrap();
    file.display().to_string()
}

#[test]
fn what_is_known_is_told_as_it_changes() {
    let cluster = shop();
    let server = ApiServer::start([pod("a")]).unwrap();
    let kube = kubeconfig(&cluster, &server);
    let agent = Agent::start(&cluster, &[("TRACER_KUBE", &kube), ("TRACER_KUBE_DUMP", "[]")]);
    let pods = || agent.metric(&["tracer_snapshot_objects", "pods"]);
    assert_eq!(pods(), Some(1.0));
    server.put(pod("b")).unwrap();
    until("the second pod is counted", || pods().filter(|count| *count == 2.0));
    assert_eq!(agent.json("/v1/status")["snapshot"]["pods"], 2);
    assert!(agent.terminate());
}

#[test]
fn who_is_ending_is_not_ready() {
    let cluster = shop();
    let nobody = format!("http://127.0.0.1:{}", port());
    let agent = Agent::start(&cluster, &[("TRACER_OTLP_ENDPOINT", &nobody), ("TRACER_GRACE", "5s")]);
    assert_eq!(request(&cluster, &["--url", "http://frontend/checkout"]), "502");
    until("the incident", || agent.incident("app-error"));
    agent.ask_to_end();
    until("it ends", || try_get(agent.address, "/readyz", "*/*").filter(|(_, why)| why.contains("stopping")));
    assert_eq!(agent.json("/v1/status")["ready"], false);
    assert!(agent.ended());
}

#[test]
fn the_end_comes_before_the_cluster_does() {
    let cluster = shop();
    let server = ApiServer::start([]).unwrap();
    server.set(|faults| faults.hang = true);
    let kube = kubeconfig(&cluster, &server);
    let settings = [("TRACER_KUBE", kube.as_str()), ("TRACER_KUBE_DUMP", "[]"), ("TRACER_KUBE_PATIENCE", "10m")];
    let agent = Agent::spawn(&cluster, false, &settings);
    until("it waits", || {
        try_get(agent.address, "/readyz", "*/*").filter(|(_, why)| why.contains("the cluster's state"))
    });
    assert!(agent.terminate());
}
