//! A large cluster that isn't there.

use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};
use tracer_tests::apiserver::ApiServer;

const CHANGES_PER_SECOND: u64 = 50;

pub(crate) struct Size {
    pub(crate) pods: usize,
    pub(crate) nodes: usize,
    pub(crate) services: usize,
    policies: usize,
    namespaces: usize,
}

impl Default for Size {
    fn default() -> Self {
        Self { pods: 10_000, nodes: 200, services: 2000, policies: 500, namespaces: 100 }
    }
}

/// Prints a kubeconfig; after a line on standard input, pods change for that time.
pub(crate) fn serve(size: Size, seconds: u64) -> Result<()> {
    let server = ApiServer::start(objects(&size))?;
    let file = tempfile::NamedTempFile::new()?;
    server.write_kubeconfig(file.path())?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", std::fs::read_to_string(file.path())?)?;
    out.flush()?;
    let mut lines = std::io::stdin().lock().lines();
    if lines.next().is_none() {
        return Ok(());
    }
    let started = Instant::now();
    for change in 0..seconds * CHANGES_PER_SECOND {
        std::thread::sleep(
            (Duration::from_millis(change * 1000 / CHANGES_PER_SECOND)).saturating_sub(started.elapsed()),
        );
        // A pod is replaced in five steps: gone, created, scheduled, running, ready.
        let (number, step) = ((change / 5 * 97 % size.pods as u64) as usize, change % 5);
        let generation = change / 5 + 1;
        match step {
            0 => {
                let old = pod(&size, number, 0, 4);
                let name = |key: &str| old["metadata"][key].as_str().unwrap_or_default().to_owned();
                // Replaced before, under another name.
                let _ = server.delete("v1/pods", &name("namespace"), &name("name"));
            }
            step => server.put(pod(&size, number, generation, step))?,
        }
    }
    // Until we are ended.
    lines.next();
    Ok(())
}

fn objects(size: &Size) -> Vec<Value> {
    let mut all = vec![];
    all.extend((0..size.namespaces).map(|n| {
        json!({"apiVersion": "v1", "kind": "Namespace",
               "metadata": {"name": format!("team-{n}"), "labels": {"kubernetes.io/metadata.name": format!("team-{n}"), "team": format!("{n}")}}})
    }));
    all.extend((0..size.nodes).map(node));
    all.extend((0..size.pods).map(|n| pod(size, n, 0, 4)));
    for n in 0..size.services {
        all.extend([service(size, n), slice(size, n), deployment(size, n)]);
    }
    all.extend((0..size.policies).map(|n| policy(size, n)));
    all
}

fn managed_fields(lines: usize) -> Value {
    let fields: serde_json::Map<String, Value> =
        (0..lines).map(|n| (format!("f:field-{n}"), json!({".": {}, "f:name": {}, "f:value": {}}))).collect();
    json!([{"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": fields}}])
}

fn node(n: usize) -> Value {
    let images: Vec<Value> = (0..40)
        .map(|i| json!({"names": [format!("registry.example/image-{i}@sha256:{i:064}")], "sizeBytes": i}))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("node-{n}"), "uid": format!("node-uid-{n}"), "managedFields": managed_fields(30)},
        "spec": {"podCIDR": format!("10.{}.{}.0/24", 1 + n / 250, n % 250)},
        "status": {
            "addresses": [{"type": "InternalIP", "address": format!("192.168.{}.{}", n / 250, n % 250)}, {"type": "Hostname", "address": format!("node-{n}")}],
            "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}, {"type": "MemoryPressure", "status": "False"}],
            "images": images,
        },
    })
}

/// Number `n` in its generation, at a step of its life.
fn pod(size: &Size, n: usize, generation: u64, step: u64) -> Value {
    let app = n % size.services;
    let (node, hash) = (n % size.nodes, format!("{:010x}", app * 7919));
    let namespace = format!("team-{}", app % size.namespaces);
    let mut env: Vec<Value> = (0..12)
        .map(|i| json!({"name": format!("SETTING_{i}"), "value": format!("value-{i}-of-the-application")}))
        .collect();
    env.push(json!({"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}));
    let ready = if step >= 4 { "True" } else { "False" };
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("app-{app}-{hash}-{:05x}", n as u64 + generation * 100_000), "generateName": format!("app-{app}-{hash}-"),
            "namespace": namespace, "uid": format!("{n:08x}-0000-4000-8000-{generation:012x}"),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"app": format!("app-{app}"), "app.kubernetes.io/part-of": format!("team-{}", app % size.namespaces), "pod-template-hash": hash},
            "annotations": {"prometheus.io/scrape": "true", "checksum/config": "0".repeat(64), "cni.example/podIPs": "10.0.0.1/32"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("app-{app}-{hash}"), "uid": format!("rs-{app:08x}-0000-4000-8000-000000000000"), "controller": true, "blockOwnerDeletion": true}],
            "managedFields": managed_fields(25),
        },
        "spec": {
            "containers": [{
                "name": "app", "image": format!("registry.example/team/app-{app}:1.{}.0", app % 30), "env": env,
                "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
                "resources": {"limits": {"cpu": "500m", "memory": "512Mi"}, "requests": {"cpu": "100m", "memory": "128Mi"}},
                "readinessProbe": {"httpGet": {"path": "/ready", "port": "http", "scheme": "HTTP"}, "periodSeconds": 10, "timeoutSeconds": 1, "failureThreshold": 3, "successThreshold": 1},
                "livenessProbe": {"httpGet": {"path": "/live", "port": "http", "scheme": "HTTP"}, "periodSeconds": 10, "timeoutSeconds": 1, "failureThreshold": 3, "successThreshold": 1},
                "volumeMounts": [{"name": "token", "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}],
            }],
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
            "volumes": [{"name": "token", "projected": {"sources": [{"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}]}}],
            "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "serviceAccountName": "default",
        },
        "status": {"phase": "Pending", "qosClass": "Burstable"},
    });
    if step >= 2 {
        pod["spec"]["nodeName"] = format!("node-{node}").into();
    }
    if step >= 3 {
        let address = format!("10.{}.{}.{}", 1 + node / 250, node % 250, 2 + n / size.nodes);
        pod["status"] = json!({
            "phase": "Running", "hostIP": format!("192.168.{}.{}", node / 250, node % 250), "podIP": address, "podIPs": [{"ip": address}],
            "startTime": "2026-01-01T00:00:00Z", "qosClass": "Burstable",
            "conditions": [
                {"type": "PodReadyToStartContainers", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
                {"type": "Initialized", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
                {"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"},
                {"type": "ContainersReady", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"},
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
            ],
            "containerStatuses": [{
                "name": "app", "ready": step >= 4, "started": true, "restartCount": 0, "image": format!("registry.example/team/app-{app}:1.0.0"),
                "imageID": format!("registry.example/team/app-{app}@sha256:{app:064x}"), "containerID": format!("containerd://{:064x}", n as u64 + generation * 100_000),
                "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}, "lastState": {},
            }],
        });
    }
    pod
}

fn service(size: &Size, n: usize) -> Value {
    let address = format!("10.96.{}.{}", n / 250, 1 + n % 250);
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": format!("app-{n}"), "namespace": format!("team-{}", n % size.namespaces), "uid": format!("svc-{n:08x}"), "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": managed_fields(8)},
        "spec": {"type": "ClusterIP", "clusterIP": address, "clusterIPs": [address], "selector": {"app": format!("app-{n}")}, "sessionAffinity": "None",
                 "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}]},
        "status": {"loadBalancer": {}},
    })
}

fn slice(size: &Size, n: usize) -> Value {
    let pods: Vec<Value> =
        (n..size.pods).step_by(size.services).map(|pod_number| pod(size, pod_number, 0, 4)).collect();
    let endpoints: Vec<Value> = pods
        .iter()
        .map(|pod| {
            json!({"addresses": [pod["status"]["podIP"]], "conditions": {"ready": true, "serving": true, "terminating": false}, "nodeName": pod["spec"]["nodeName"],
                   "targetRef": {"kind": "Pod", "namespace": pod["metadata"]["namespace"], "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}})
        })
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": format!("app-{n}-x7k2p"), "namespace": format!("team-{}", n % size.namespaces), "labels": {"kubernetes.io/service-name": format!("app-{n}"), "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}, "managedFields": managed_fields(8)},
        "endpoints": endpoints, "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    })
}

fn deployment(size: &Size, n: usize) -> Value {
    let mut template = pod(size, n, 0, 1);
    let labels = json!({"app": format!("app-{n}")});
    template["metadata"] = json!({"labels": labels, "creationTimestamp": null});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": format!("app-{n}"), "namespace": format!("team-{}", n % size.namespaces), "uid": format!("dep-{n:08x}"), "managedFields": managed_fields(20)},
        "spec": {"replicas": 5, "selector": {"matchLabels": labels}, "template": template},
    })
}

/// Five to a namespace: a default deny, and rules by labels, by namespace and by address.
fn policy(size: &Size, n: usize) -> Value {
    let (namespace, kind) = (n % size.namespaces, n / size.namespaces);
    let app = namespace + kind * size.namespaces;
    let spec = match kind {
        0 => json!({"podSelector": {}, "policyTypes": ["Ingress"]}),
        1 => {
            json!({"podSelector": {"matchLabels": {"app": format!("app-{app}")}}, "policyTypes": ["Ingress", "Egress"],
                    "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": format!("app-{}", app + size.namespaces)}}}], "ports": [{"port": 8080, "protocol": "TCP"}]}],
                    "egress": [{"ports": [{"port": 53, "protocol": "UDP"}]}, {"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.96.0.0/16"]}}]}]})
        }
        2 => {
            json!({"podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": [format!("app-{app}"), format!("app-{}", app + size.namespaces)]}]},
                    "ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"team": format!("{}", (namespace + 1) % size.namespaces)}}}]}]})
        }
        3 => json!({"podSelector": {"matchLabels": {"app.kubernetes.io/part-of": format!("team-{namespace}")}},
                    "ingress": [{"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "prometheus"}}}], "ports": [{"port": "http"}]}]}),
        _ => json!({"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]}),
    };
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
           "metadata": {"name": format!("policy-{kind}"), "namespace": format!("team-{namespace}"), "uid": format!("np-{n:08x}"), "managedFields": managed_fields(6)}, "spec": spec})
}
