//! A shop that is broken in the ways that only a kubelet can break it, and what is to be said of each.

use serde_json::{Value, json};

pub(super) const APP: &str = "localhost/app:1";
pub(super) const DNS: &str = "localhost/dns:1";

/// A path of the frontend, the cause, and the workload or else the Service that it arises in.
pub(super) const FAULTS: &[(&str, &str, &str)] = &[
    ("/checkout", "app-error", "Deployment/cart"),
    ("/recommend", "selector-mismatch", "shop/recommendations"),
    ("/port", "wrong-target-port", "Deployment/wrongport"),
    ("/oom", "oom-killed", "Deployment/hungry"),
    ("/crash", "crash-loop", "Deployment/crashing"),
    ("/image", "image-error", "Deployment/imageless"),
    ("/config", "config-error", "Deployment/unconfigured"),
    ("/pending", "not-ready", "Deployment/pending"),
    ("/ready", "probe-failing", "Deployment/unready"),
    ("/missing", "dns-nxdomain", "Deployment/frontend"),
    ("/host", "app-error", "Deployment/hosted"),
];

/// The same of the readiness probe that fails.
pub(super) const PROBE: (&str, &str, &str) = ("/nobody-there", "probe-failing", "Deployment/unready");

struct Workload {
    name: &'static str,
    port: u16,
    routes: Value,
    /// What the container has beyond the usual.
    container: Value,
    /// The same of the pod.
    pod: Value,
}

fn workloads() -> Vec<Workload> {
    let plain = |name| Workload { name, port: 8080, routes: json!({"/": {}}), container: json!({}), pod: json!({}) };
    let call =
        |service: &str, status: u16| json!({"calls": [{"url": format!("http://{service}/"), "on_failure": status}]});
    vec![
        Workload {
            routes: json!({
                "/": call("cart", 502),
                "/checkout": {"calls": [{"url": "http://cart/total"}]},
                "/recommend": call("recommendations", 502),
                "/port": call("wrongport", 502),
                "/oom": {"calls": [{"url": "http://hungry/oom", "on_failure": 502}]},
                "/crash": call("crashing", 502),
                "/image": call("imageless", 502),
                "/config": call("unconfigured", 503),
                "/pending": call("pending", 503),
                "/ready": call("unready", 503),
                "/missing": call("nowhere", 503),
                "/host": call("hosted", 500),
            }),
            ..plain("frontend")
        },
        Workload { routes: json!({"/": {}, "/total": {"status": 500, "log": "ERROR no total"}}), ..plain("cart") },
        plain("recommendations"),
        Workload { port: 8081, ..plain("wrongport") },
        Workload {
            routes: json!({"/": {}, "/oom": {"misbehave": "oom"}}),
            container: json!({"resources": {"limits": {"memory": "48Mi"}}}),
            ..plain("hungry")
        },
        Workload { routes: json!("no routes"), ..plain("crashing") },
        Workload {
            container: json!({"image": "localhost/nothing:1", "imagePullPolicy": "Never"}),
            ..plain("imageless")
        },
        Workload { container: json!({"envFrom": [{"configMapRef": {"name": "nothing"}}]}), ..plain("unconfigured") },
        Workload { container: json!({"resources": {"requests": {"cpu": "1000"}}}), ..plain("pending") },
        Workload {
            container: json!({"readinessProbe": {"httpGet": {"path": PROBE.0, "port": 8080}, "periodSeconds": 1}}),
            ..plain("unready")
        },
        Workload {
            port: 8090,
            routes: json!({"/": {"status": 500, "log": "ERROR on the host"}}),
            pod: json!({"hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"}),
            ..plain("hosted")
        },
    ]
}

/// Everything that is applied.
pub(super) fn objects() -> Value {
    let mut items = vec![json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})];
    let mut names = String::new();
    for (number, Workload { name, port, routes, container, pod }) in (10..).zip(workloads()) {
        let arguments = ["serve", "--listen", &format!("0.0.0.0:{port}"), "--routes", "/routes/routes.json"];
        let mut own = json!({
            "name": name, "image": APP, "args": arguments, "volumeMounts": [{"name": "routes", "mountPath": "/routes"}],
        });
        merge(&mut own, container);
        let mut spec = json!({"containers": [own], "volumes": [{"name": "routes", "configMap": {"name": name}}]});
        merge(&mut spec, pod);
        let address = format!("10.96.1.{number}");
        let target = if name == "wrongport" { 8080 } else { port };
        names += &format!("  local-data: \"{name}.shop.svc.cluster.local. A {address}\"\n");
        let selected = if name == "recommendations" { "recommendation" } else { name };
        items.push(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "shop"},
            "data": {"routes.json": routes.to_string()},
        }));
        items.push(deployment("shop", name, &spec));
        items.push(service("shop", name, selected, &address, &json!([{"port": 80, "targetPort": target}])));
    }
    items.push(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "dns", "namespace": "kube-system"},
        "data": {"unbound.conf": format!(
            "server:\n  interface: 0.0.0.0\n  access-control: 0.0.0.0/0 allow\n  chroot: \"\"\n  username: \"\"\n  directory: \"/\"\n  \
             pidfile: \"\"\n  use-syslog: no\n  do-daemonize: no\n  local-zone: \".\" static\n{names}"
        )},
    }));
    items.push(deployment(
        "kube-system",
        "dns",
        &json!({
            "containers": [{
                "name": "dns", "image": DNS, "args": ["-d", "-c", "/config/unbound.conf"],
                "volumeMounts": [{"name": "config", "mountPath": "/config"}],
            }],
            "volumes": [{"name": "config", "configMap": {"name": "dns"}}],
        }),
    ));
    items.push(service("kube-system", "dns", "dns", "10.96.0.10", &json!([{"port": 53, "protocol": "UDP"}])));
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

fn deployment(namespace: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": spec},
        },
    })
}

fn service(namespace: &str, name: &str, selected: &str, address: &str, ports: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace},
        "spec": {"clusterIP": address, "selector": {"app": selected}, "ports": ports},
    })
}

/// The fields of one object put over those of another.
fn merge(object: &mut Value, over: Value) {
    let (Some(object), Value::Object(over)) = (object.as_object_mut(), over) else { return };
    object.extend(over);
}
