//! `tracer cluster` against an API server and the agents of two nodes.

use std::process::Command;

use serde_json::{Value, json};
use tracer_tests::{
    apiserver::ApiServer,
    cluster::{Cluster, ClusterSpec},
};

use super::{
    request,
    support::{Agent, port, until},
};

const SHOP: &str = r"
ip: 4
pods:
  - {name: client, kind: Job}
  - name: frontend
    server: {kind: app, port: 8080, routes: {/checkout: {calls: [{url: 'http://cart.warehouse/', on_failure: 502}]}}}
  - name: cart
    namespace: warehouse
    on_second_node: true
    server: {kind: app, port: 8080, routes: {/: {status: 500, body: 'NullPointerException'}}}
services:
  - {name: frontend, port: 80, target_port: 8080}
  - {name: cart, namespace: warehouse, port: 80, target_port: 8080}
";

fn pod(name: &str, node: &str, phase: &str, app: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "spec": {"nodeName": node, "containers": [{"name": "tracer"}]},
        "metadata": {"namespace": "tracer", "name": name, "labels": {"app.kubernetes.io/name": app}},
        "status": {"phase": phase},
    })
}

/// Exit code, standard output's lines as JSON, standard error.
fn tracer(cluster: &Cluster, server: &ApiServer, arguments: &[&str]) -> (Option<i32>, Vec<Value>, String) {
    let kubeconfig = cluster.instance.directory().join("kubeconfig");
    server.write_kubeconfig(&kubeconfig).unwrap();
    let output = Command::new(std::env::var_os("TRACER_BIN").unwrap())
        .arg("cluster")
        .args(arguments)
        .args(["-o", "json", "--kube"])
        .arg(kubeconfig)
        .output()
        .unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (output.status.code(), lines, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn agents_of_two_nodes_tell_one_story_and_who_is_silent_is_named() {
    let cluster = Cluster::up(&serde_yaml_ng::from_str::<ClusterSpec>(SHOP).unwrap()).unwrap();
    let first = Agent::start_on(&cluster, false, &[("TRACER_NODE_NAME", "n1")]);
    // This one only the first agent sees: what joins them are later ones.
    assert_eq!(request(&cluster, &["--url", "http://frontend/checkout", "--ids"]), "502");
    until("the first failure", || first.json("/v1/incidents")["incidents"].get(0).cloned());
    let second = Agent::start_on(&cluster, true, &[("TRACER_NODE_NAME", "n2")]);
    assert_eq!(request(&cluster, &["--url", "http://frontend/checkout", "-n", "3", "--ids"]), "502");
    until("both know", || second.incident("app-error").filter(|found| found["count"] == 3));
    until("all four", || first.json("/v1/incidents")["incidents"].get(0).filter(|found| found["count"] == 4).cloned());

    let server = ApiServer::start([
        pod("tracer-1", "n1", "Running", "tracer"),
        pod("tracer-2", "n2", "Running", "tracer"),
        pod("tracer-3", "n3", "Running", "tracer"),
        pod("tracer-4", "n4", "Pending", "tracer"),
        pod("other", "n1", "Running", "other"),
    ])
    .unwrap();
    server.proxy("tracer", "tracer-1", first.address);
    server.proxy("tracer", "tracer-2", second.address);
    server.proxy("tracer", "tracer-3", ([127, 0, 0, 1], port()).into());

    let (code, lines, said) = tracer(&cluster, &server, &["incidents", "--since", "5m"]);
    let [incident, agents] = &lines[..] else { panic!("{lines:?} {said}") };
    assert_eq!((code, &incident["nodes"]), (Some(0), &json!(["n1", "n2"])), "{incident}");
    assert_eq!((&incident["cause"]["id"], &incident["count"]), (&json!("app-error"), &json!(4)), "{incident}");
    assert_eq!(incident["cause"]["origin"]["workload"], "Deployment/cart");
    let path = incident["path"].as_array().unwrap();
    let workloads: Vec<_> = path.iter().filter_map(|hop| hop["workload"].as_str()).collect();
    assert_eq!(workloads[workloads.len() - 2..], ["Deployment/frontend", "Deployment/cart"], "{incident}");
    assert_eq!(agents["answered"], json!(["n1", "n2"]));
    // The second node knows nothing of the namespace, and has the cause.
    let (_, selected, _) =
        tracer(&cluster, &server, &["incidents", "-n", "shop", "--cause", "app-error", "--limit", "1"]);
    assert_eq!(selected[..], lines[..], "{incident}");
    let (_, selected, _) = tracer(&cluster, &server, &["incidents", "--cause", "no-listener"]);
    assert_eq!(selected[..], lines[1..]);
    let failed = agents["failed"].as_array().unwrap();
    assert_eq!((&failed[0]["node"], &failed[1]["reason"]), (&json!("n3"), &json!("the pod is Pending")), "{agents}");
    assert!(failed[0]["reason"].as_str().unwrap().contains("error trying to reach service"), "{agents}");

    let (code, lines, _) = tracer(&cluster, &server, &["status", "--agent-namespace", "tracer"]);
    assert_eq!((code, lines.len()), (Some(0), 3), "{lines:?}");
    assert!(lines[0]["node"] == "n1" && lines[0]["status"]["ready"] == true, "{lines:?}");
    let (code, _, said) = tracer(&cluster, &server, &["status", "--agent-namespace", "elsewhere"]);
    assert!(code == Some(3) && said.contains("app.kubernetes.io/name=tracer"), "{code:?} {said}");

    server.set(|faults| faults.forbidden.extend(["pods/proxy".to_owned()]));
    let (code, lines, _) = tracer(&cluster, &server, &["incidents"]);
    let reason = lines[0]["failed"][0]["reason"].as_str().unwrap();
    assert!(code == Some(3) && reason.contains("doesn't allow to get pods/proxy in namespace tracer"), "{reason}");
    server.set(|faults| faults.forbidden.extend(["pods".to_owned()]));
    let (code, _, said) = tracer(&cluster, &server, &["incidents"]);
    assert!(code == Some(3) && said.contains("doesn't allow to list pods in all namespaces"), "{code:?} {said}");
    assert!(first.terminate() && second.terminate());
}
