//! Objects by resource, and the log of their changes.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// Changes that can be watched from.
const LOG: usize = 100_000;

/// Kinds with their resource names; what isn't here is a resource that the cluster doesn't have.
const RESOURCES: [(&str, &str, &str); 18] = [
    ("v1", "Pod", "pods"),
    ("v1", "Service", "services"),
    ("v1", "Namespace", "namespaces"),
    ("v1", "Node", "nodes"),
    ("v1", "Event", "events"),
    ("v1", "Endpoints", "endpoints"),
    ("discovery.k8s.io/v1", "EndpointSlice", "endpointslices"),
    ("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
    ("networking.k8s.io/v1", "Ingress", "ingresses"),
    ("apps/v1", "Deployment", "deployments"),
    ("apps/v1", "ReplicaSet", "replicasets"),
    ("apps/v1", "StatefulSet", "statefulsets"),
    ("apps/v1", "DaemonSet", "daemonsets"),
    ("batch/v1", "Job", "jobs"),
    ("batch/v1", "CronJob", "cronjobs"),
    ("cilium.io/v2", "CiliumNetworkPolicy", "ciliumnetworkpolicies"),
    ("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes"),
    ("events.k8s.io/v1", "Event", "events"),
];

/// Resources that a cluster has without any object of them.
const BUILT_IN: [&str; 5] = ["v1", "apps/v1", "batch/v1", "discovery.k8s.io/v1", "networking.k8s.io/v1"];

/// `v1/pods`, `apps/v1/deployments`.
pub(super) type Resource = String;
type Name = (String, String);

#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) json: Arc<str>,
    /// What field selectors ask for.
    fields: Arc<[(&'static str, String)]>,
    labels: Arc<[(String, String)]>,
}

#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) resource: Arc<str>,
    /// `ADDED`, `MODIFIED`, `DELETED`.
    pub(super) kind: &'static str,
    pub(super) object: Stored,
}

#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) version: u64,
    objects: BTreeMap<Resource, BTreeMap<Name, Stored>>,
    log: VecDeque<Change>,
    /// Versions before this one are forgotten.
    pub(super) oldest: u64,
}

impl Stored {
    /// Whether the object meets a field selector: `key=value`, several by comma.
    pub(super) fn meets(&self, selector: Option<&str>) -> bool {
        let parts =
            selector.into_iter().flat_map(|selector| selector.split(',')).filter_map(|part| part.split_once('='));
        parts.into_iter().all(|(key, value)| self.fields.iter().any(|(known, own)| *known == key && own == value))
    }

    /// Whether the object meets a label selector: `key=value`, several by comma.
    pub(super) fn is_labelled(&self, selector: Option<&str>) -> bool {
        let mut parts = selector.into_iter().filter(|selector| !selector.is_empty()).flat_map(|all| all.split(','));
        parts.all(|part| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            self.labels.iter().any(|(known, own)| known == key && own == value.trim_start_matches('='))
        })
    }
}

impl Store {
    pub(super) fn put(&mut self, mut object: Value) -> Result<()> {
        let resource = resource_of(&object)?;
        let name = name_of(&object);
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let stored = stored(&object);
        let known = self.objects.entry(resource.clone()).or_default().insert(name, stored.clone());
        self.log(resource, if known.is_some() { "MODIFIED" } else { "ADDED" }, stored);
        Ok(())
    }

    pub(super) fn delete(&mut self, resource: &str, namespace: &str, name: &str) -> Result<()> {
        let objects = self.objects.get_mut(resource).with_context(|| format!("no {resource}"))?;
        let stored_object = objects
            .remove(&(namespace.into(), name.into()))
            .with_context(|| format!("no {resource} {namespace}/{name}"))?;
        let mut object: Value = serde_json::from_str(&stored_object.json)?;
        self.version += 1;
        // A deletion has its own version.
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.log(resource.to_owned(), "DELETED", stored(&object));
        Ok(())
    }

    pub(super) fn compact(&mut self) {
        self.log.clear();
        self.version += 1;
        self.oldest = self.version;
    }

    pub(super) fn serves(&self, resource: &str) -> bool {
        self.objects.contains_key(resource)
            || RESOURCES.iter().any(|(version, _, plural)| {
                BUILT_IN.contains(version)
                    && resource.strip_suffix(plural).is_some_and(|head| head.trim_end_matches('/') == *version)
            })
    }

    /// Objects after a name, in order.
    pub(super) fn list(&self, resource: &str, after: Option<&Name>) -> impl Iterator<Item = (&Name, &Stored)> {
        use std::ops::Bound;
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let objects = self.objects.get(resource).into_iter();
        objects.flat_map(move |all| all.range::<Name, _>((start, Bound::Unbounded)))
    }

    /// Changes after a version.
    pub(super) fn since(&self, version: u64) -> impl Iterator<Item = &Change> {
        let start = self.log.partition_point(|change| change.version <= version);
        self.log.range(start..)
    }

    fn log(&mut self, resource: Resource, kind: &'static str, object: Stored) {
        self.log.push_back(Change { version: self.version, resource: resource.into(), kind, object });
        if self.log.len() > LOG
            && let Some(forgotten) = self.log.pop_front()
        {
            self.oldest = forgotten.version;
        }
    }
}

fn resource_of(object: &Value) -> Result<Resource> {
    let text = |key: &str| object[key].as_str().unwrap_or_default();
    let (version, kind) = (text("apiVersion"), text("kind"));
    match RESOURCES.iter().find(|(v, k, _)| *v == version && *k == kind) {
        Some((_, _, plural)) => Ok(format!("{version}/{plural}")),
        None => bail!("the test API server knows no {kind} of {version}"),
    }
}

fn name_of(object: &Value) -> Name {
    let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}

fn stored(object: &Value) -> Stored {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let fields = [
        ("spec.nodeName", "/spec/nodeName"),
        ("status.podIP", "/status/podIP"),
        ("type", "/type"),
        ("reason", "/reason"),
        ("metadata.name", "/metadata/name"),
    ];
    let fields = fields.into_iter().filter_map(|(key, pointer)| Some((key, text(pointer)?))).collect();
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
    let labels = labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect();
    Stored { json: object.to_string().into(), fields, labels }
}
