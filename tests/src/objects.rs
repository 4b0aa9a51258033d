//! The cluster's objects as `kubectl get -o yaml` prints them.

use anyhow::Result;
use serde_json::{Value, json};

use crate::cluster::{
    Family, Plan,
    plan::{DEAD_NODE_NAME, NODE_NAME, Pod, SECOND_NODE_NAME, Service, node_of, replica_set_hash},
    spec::WorkloadKind,
};

const CREATED: &str = "2026-01-01T00:00:00Z";

/// All objects as one `List`.
pub fn yaml(plan: &Plan) -> Result<String> {
    let items = items(plan)?;
    Ok(serde_yaml_ng::to_string(&json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items}))?)
}

/// All objects.
pub fn items(plan: &Plan) -> Result<Vec<Value>> {
    let mut items = vec![node(NODE_NAME, "192.168.0.11"), node(DEAD_NODE_NAME, "192.168.0.12")];
    items.extend(plan.has_second_node().then(|| node(SECOND_NODE_NAME, "192.168.1.13")));
    let mut namespaces: Vec<&str> = plan.pods.iter().map(|pod| pod.spec.namespace.as_str()).collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    items.extend(namespaces.into_iter().map(namespace));
    for pod in &plan.pods {
        items.push(pod_object(plan, pod));
        items.extend(controllers(pod));
    }
    for service in &plan.services {
        items.push(service_object(plan, service));
        items.push(endpoint_slice(plan, service));
    }
    items.extend(plan.policies.iter().cloned());
    for object in &plan.objects {
        items.push(serde_json::from_str(&plan.expand(&object.to_string())?)?);
    }
    Ok(items)
}

fn node(name: &str, address: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "uid": format!("node-{name}"), "labels": {"kubernetes.io/hostname": name}},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "MemoryPressure", "status": "False"}],
        },
    })
}

fn namespace(name: &str) -> Value {
    let labels = json!({"kubernetes.io/metadata.name": name});
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

/// A pod as the API server has it.
pub fn pod_object(plan: &Plan, pod: &Pod) -> Value {
    let spec = &pod.spec;
    let container = spec.server.container();
    let mut labels = json!(pod.labels);
    if spec.kind == WorkloadKind::Deployment {
        labels["pod-template-hash"] = json!(replica_set_hash(&spec.name));
    }
    let addresses = match plan.family {
        Family::V4 => [pod.addresses.v4.to_string(), pod.addresses.v6.to_string()],
        Family::V6 => [pod.addresses.v6.to_string(), pod.addresses.v4.to_string()],
    };
    let ready = if spec.ready { "True" } else { "False" };
    let ports: Vec<Value> = spec.server.port().map(|port| json!({"containerPort": port})).into_iter().collect();
    let mut limits = json!({});
    if let Some(limit) = spec.memory_limit_mib {
        limits["limits"]["memory"] = json!(format!("{limit}Mi"));
    }
    if let Some(limit) = spec.cpu_limit_millis {
        limits["limits"]["cpu"] = json!(format!("{limit}m"));
    }
    let (on_node, host) = node_of(spec);
    let mut metadata = json!({
        "name": pod.name, "namespace": spec.namespace, "uid": pod.uid, "labels": labels, "creationTimestamp": CREATED,
    });
    if let Some(owner) = owner(pod) {
        metadata["ownerReferences"] = json!([owner]);
    }
    let mut object = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
        "spec": {
            "nodeName": on_node,
            "containers": [{"name": container, "image": format!("{container}:test"), "ports": ports, "resources": limits}],
        },
        "status": {
            "phase": "Running", "qosClass": "Burstable", "hostIP": host, "startTime": CREATED,
            "podIP": addresses[0], "podIPs": addresses.iter().map(|ip| json!({"ip": ip})).collect::<Vec<_>>(),
            "conditions": [
                {"type": "Initialized", "status": "True"},
                {"type": "Ready", "status": ready},
                {"type": "ContainersReady", "status": ready},
                {"type": "PodScheduled", "status": "True"},
            ],
            "containerStatuses": [{
                "name": container, "image": format!("{container}:test"), "imageID": "sha256:0",
                "containerID": format!("containerd://{}", pod.container_id),
                "ready": spec.ready, "started": true, "restartCount": 0,
                "state": {"running": {"startedAt": CREATED}}, "lastState": {},
            }],
        },
    });
    for (name, probe) in &spec.probes {
        object["spec"]["containers"][0][name] = json!(probe);
    }
    merge(&mut object, &spec.object);
    object
}

/// A JSON merge patch (RFC 7396), except that null changes nothing.
fn merge(object: &mut Value, patch: &Value) {
    let Value::Object(members) = patch else {
        if !patch.is_null() {
            *object = patch.clone();
        }
        return;
    };
    for (name, member) in members {
        merge(&mut object[name.as_str()], member);
    }
}

fn owner(pod: &Pod) -> Option<Value> {
    let name = &pod.spec.name;
    let (version, kind, name) = match pod.spec.kind {
        WorkloadKind::Pod => return None,
        WorkloadKind::Deployment => ("apps/v1", "ReplicaSet", format!("{name}-{}", replica_set_hash(name))),
        WorkloadKind::StatefulSet => ("apps/v1", "StatefulSet", name.clone()),
        WorkloadKind::Job => ("batch/v1", "Job", name.clone()),
    };
    let uid = format!("uid-{kind}-{}-{name}", pod.spec.namespace);
    Some(json!({"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": true}))
}

/// The objects above a pod: a Deployment and its ReplicaSet, a StatefulSet, a Job.
fn controllers(pod: &Pod) -> Vec<Value> {
    let (name, namespace) = (&pod.spec.name, &pod.spec.namespace);
    let spec = json!({"replicas": 1, "selector": {"matchLabels": pod.labels}, "template": {"metadata": {"labels": pod.labels}}});
    let object = |version: &str, kind: &str, name: &str, owner: Option<Value>| {
        let mut metadata = json!({"name": name, "namespace": namespace, "uid": format!("uid-{kind}-{namespace}-{name}"), "labels": pod.labels});
        if let Some(owner) = owner {
            metadata["ownerReferences"] = json!([owner]);
        }
        json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec})
    };
    match pod.spec.kind {
        WorkloadKind::Pod => vec![],
        WorkloadKind::StatefulSet => vec![object("apps/v1", "StatefulSet", name, None)],
        WorkloadKind::Job => vec![object("batch/v1", "Job", name, None)],
        WorkloadKind::Deployment => {
            let uid = format!("uid-Deployment-{namespace}-{name}");
            let owner =
                json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": uid, "controller": true});
            let replica_set = format!("{name}-{}", replica_set_hash(name));
            vec![
                object("apps/v1", "Deployment", name, None),
                object("apps/v1", "ReplicaSet", &replica_set, Some(owner)),
            ]
        }
    }
}

fn service_object(plan: &Plan, service: &Service) -> Value {
    let spec = &service.spec;
    let address = service.addresses.of(plan.family);
    let family = if plan.family == Family::V4 { "IPv4" } else { "IPv6" };
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": spec.name, "namespace": spec.namespace, "uid": format!("uid-Service-{}", service.full_name())},
        "spec": {
            "type": "ClusterIP", "clusterIP": address, "clusterIPs": [address],
            "ipFamilies": [family], "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": spec.internal_traffic_policy, "sessionAffinity": "None",
            "selector": spec.selector(),
            "ports": ports(service, |name, protocol| {
                json!({"name": name, "protocol": protocol, "port": spec.port, "targetPort": service.target_port()})
            }),
        },
        "status": {"loadBalancer": {}},
    })
}

fn endpoint_slice(plan: &Plan, service: &Service) -> Value {
    let spec = &service.spec;
    let mut endpoints: Vec<Value> = (service.matched.iter().map(|&index| &plan.pods[index]))
        .map(|pod| {
            let ready = pod.spec.ready;
            json!({
                "addresses": [pod.addresses.of(plan.family)],
                "conditions": {"ready": ready, "serving": ready, "terminating": false},
                "nodeName": node_of(&pod.spec).0,
                "targetRef": {"kind": "Pod", "name": pod.name, "namespace": pod.spec.namespace, "uid": pod.uid},
            })
        })
        .collect();
    endpoints.extend(service.backend.map(|addresses| json!({"addresses": [addresses.of(plan.family)]})));
    let ports =
        ports(service, |name, protocol| json!({"name": name, "protocol": protocol, "port": service.target_port()}));
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{}-{}", spec.name, &replica_set_hash(&service.full_name())[..5]), "namespace": spec.namespace,
            "labels": {"kubernetes.io/service-name": spec.name},
        },
        "addressType": if plan.family == Family::V4 { "IPv4" } else { "IPv6" },
        "endpoints": endpoints,
        "ports": if endpoints.is_empty() { json!([]) } else { json!(ports) },
    })
}

fn ports(service: &Service, port: impl Fn(&str, &str) -> Value) -> Vec<Value> {
    let name = |protocol: &str| match (service.spec.port, protocol) {
        (53, "udp") => "dns",
        (53, _) => "dns-tcp",
        (6379, _) => "redis",
        _ => "http",
    };
    service.protocols.iter().map(|protocol| port(name(protocol), &protocol.to_uppercase())).collect()
}
