//! Any object of a dump or a watch, and collections of them.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::route::routes;
use super::{
    Controller, EndpointSlice, Endpoints, Event, Metadata, Namespace, NetworkPolicy, Node, OtherObject, Pod, Service,
};

/// One object of a kind the tracer reads.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum Object {
    Pod(Box<Pod>),
    Service(Box<Service>),
    EndpointSlice(Box<EndpointSlice>),
    Endpoints(Box<Endpoints>),
    NetworkPolicy(Box<NetworkPolicy>),
    Namespace(Box<Namespace>),
    Node(Box<Node>),
    Event(Box<Event>),
    Controller(Box<Controller>),
    Other(Box<OtherObject>),
    /// Of a kind the tracer doesn't read, by its name for counting.
    Unread(String),
}

/// Why a value isn't the object it claims to be.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub struct ObjectError {
    /// `Kind namespace/name`, as far as known.
    pub object: String,
    /// Such as `spec.ingress[0].ports[1].port`; empty for the object itself.
    pub path: String,
    pub message: String,
}

impl fmt::Display for ObjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { object, path, message } = self;
        match path.as_str() {
            "" | "." => write!(f, "{object}: {message}"),
            path => write!(f, "{object}: {path}: {message}"),
        }
    }
}

impl Object {
    /// Decodes an object by its `apiVersion` and `kind`. Explicit nulls are removed first.
    ///
    /// # Errors
    /// Says which field of which object isn't what its kind requires. An unread kind is not an error.
    pub fn from_value(mut value: Value) -> Result<Self, ObjectError> {
        drop_nulls(&mut value);
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        if kind.is_empty() {
            let message = match &value {
                Value::Object(_) => "no `kind`; a Kubernetes object has `apiVersion` and `kind`".to_owned(),
                other => {
                    format!("a Kubernetes object is a mapping with `apiVersion` and `kind`, this is {}", shape(other))
                }
            };
            return Err(ObjectError { object: "object".to_owned(), path: String::new(), message });
        }
        // Other groups use the same kind names: Knative has a Service, Calico a NetworkPolicy.
        Ok(match (api_version.as_str(), kind.as_str()) {
            ("v1", "Pod") => Self::Pod(decode(value)?),
            ("v1", "Service") => Self::Service(decode(value)?),
            ("v1", "Endpoints") => Self::Endpoints(decode(value)?),
            ("v1", "Namespace") => Self::Namespace(decode(value)?),
            ("v1", "Node") => Self::Node(decode(value)?),
            ("v1" | "events.k8s.io/v1", "Event") => Self::Event(decode(value)?),
            ("discovery.k8s.io/v1", "EndpointSlice") => Self::EndpointSlice(decode(value)?),
            ("networking.k8s.io/v1", "NetworkPolicy") => Self::NetworkPolicy(decode(value)?),
            ("apps/v1", "DaemonSet" | "Deployment" | "ReplicaSet" | "StatefulSet")
            | ("batch/v1", "CronJob" | "Job") => Self::Controller(decode(value)?),
            (version, kind) if OtherObject::is_read(version, kind) => {
                let routes = routes(kind, &value);
                let mut other = decode::<OtherObject>(value)?;
                other.routes = routes;
                other.metadata.trim();
                Self::Other(other)
            }
            (_, known) if is_read(known) => Self::Unread(format!("{known} ({api_version})")),
            _ => Self::Unread(kind),
        })
    }
}

fn is_read(kind: &str) -> bool {
    matches!(kind, "Pod" | "Service" | "Endpoints" | "Namespace" | "Node" | "Event" | "EndpointSlice" | "NetworkPolicy")
}

fn shape(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

fn decode<T: DeserializeOwned>(value: Value) -> Result<Box<T>, ObjectError> {
    let object = describe(&value);
    let fail = |path: &str, message: String| ObjectError { object: object.clone(), path: path.to_owned(), message };
    if value.pointer("/metadata/name").and_then(Value::as_str).is_none_or(str::is_empty) {
        return Err(fail("metadata.name", "an object must have a name".to_owned()));
    }
    serde_path_to_error::deserialize(value)
        .map(Box::new)
        .map_err(|error| fail(&error.path().to_string(), error.inner().to_string()))
}

fn describe(value: &Value) -> String {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (kind, namespace, name) = (text("/kind"), text("/metadata/namespace"), text("/metadata/name"));
    match (namespace, name) {
        (_, "") => kind.to_owned(),
        ("", name) => format!("{kind} {name}"),
        (namespace, name) => format!("{kind} {namespace}/{name}"),
    }
}

/// Removes null members, at every depth: the API server reads them as absent.
pub fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, member| !member.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Objects by kind: what a snapshot is built from, and what a capture file keeps of it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Objects {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<Pod>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<Service>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub endpoint_slices: Vec<EndpointSlice>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<Endpoints>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub network_policies: Vec<NetworkPolicy>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<Namespace>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<Node>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub controllers: Vec<Controller>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<OtherObject>,
}

impl Objects {
    /// Files an object under its kind, or counts it in `unread`.
    pub fn push(&mut self, object: Object, unread: &mut BTreeMap<String, usize>) {
        match object {
            Object::Pod(pod) => self.pods.push(*pod),
            Object::Service(service) => self.services.push(*service),
            Object::EndpointSlice(slice) => self.endpoint_slices.push(*slice),
            Object::Endpoints(endpoints) => self.endpoints.push(*endpoints),
            Object::NetworkPolicy(policy) => self.network_policies.push(*policy),
            Object::Namespace(namespace) => self.namespaces.push(*namespace),
            Object::Node(node) => self.nodes.push(*node),
            Object::Event(event) => self.events.push(*event),
            Object::Controller(controller) => self.controllers.push(*controller),
            Object::Other(other) => self.others.push(*other),
            Object::Unread(kind) => *unread.entry(kind).or_default() += 1,
        }
    }

    /// Adds all objects of `other`.
    pub fn append(&mut self, other: Self) {
        let Self {
            pods,
            services,
            endpoint_slices,
            endpoints,
            network_policies,
            namespaces,
            nodes,
            events,
            controllers,
            others,
        } = other;
        self.pods.extend(pods);
        self.services.extend(services);
        self.endpoint_slices.extend(endpoint_slices);
        self.endpoints.extend(endpoints);
        self.network_policies.extend(network_policies);
        self.namespaces.extend(namespaces);
        self.nodes.extend(nodes);
        self.events.extend(events);
        self.controllers.extend(controllers);
        self.others.extend(others);
    }

    pub fn len(&self) -> usize {
        let Self {
            pods,
            services,
            endpoint_slices,
            endpoints,
            network_policies,
            namespaces,
            nodes,
            events,
            controllers,
            others,
        } = self;
        pods.len()
            + services.len()
            + endpoint_slices.len()
            + endpoints.len()
            + network_policies.len()
            + namespaces.len()
            + nodes.len()
            + events.len()
            + controllers.len()
            + others.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Orders every kind by namespace and name, so that equal states serialize to equal bytes, and drops what was given
    /// twice: the later one stays, because later files and later watch events are newer.
    pub(in crate::k8s) fn normalize(&mut self) {
        default_namespaces(self);
        // Pods of one name but different uid are different pods: events may refer to either.
        let pod_key = |pod: &Pod| (key(&pod.metadata), pod.metadata.uid.clone());
        sort_and_dedup(&mut self.pods, pod_key);
        sort_and_dedup(&mut self.services, |o| key(&o.metadata));
        sort_and_dedup(&mut self.endpoint_slices, |o| key(&o.metadata));
        sort_and_dedup(&mut self.endpoints, |o| key(&o.metadata));
        sort_and_dedup(&mut self.network_policies, |o| key(&o.metadata));
        sort_and_dedup(&mut self.namespaces, |o| key(&o.metadata));
        sort_and_dedup(&mut self.nodes, |o| key(&o.metadata));
        sort_and_dedup(&mut self.events, |o| key(&o.metadata));
        sort_and_dedup(&mut self.controllers, |o| (o.kind.as_str(), key(&o.metadata)));
        sort_and_dedup(&mut self.others, |o| (o.kind.clone(), key(&o.metadata)));
    }
}

fn key(metadata: &Metadata) -> (String, String) {
    (metadata.namespace.clone(), metadata.name.clone())
}

/// A manifest without a namespace is applied to `default`; a dump always names it.
fn default_namespaces(objects: &mut Objects) {
    let namespaced = (objects.pods.iter_mut().map(|o| &mut o.metadata))
        .chain(objects.services.iter_mut().map(|o| &mut o.metadata))
        .chain(objects.endpoint_slices.iter_mut().map(|o| &mut o.metadata))
        .chain(objects.endpoints.iter_mut().map(|o| &mut o.metadata))
        .chain(objects.network_policies.iter_mut().map(|o| &mut o.metadata))
        .chain(objects.controllers.iter_mut().map(|o| &mut o.metadata));
    for metadata in namespaced {
        if metadata.namespace.is_empty() {
            "default".clone_into(&mut metadata.namespace);
        }
    }
}

fn sort_and_dedup<T, K: Ord>(items: &mut Vec<T>, key: impl Fn(&T) -> K) {
    items.reverse();
    // Stable: of equal keys the one given last comes first, and is the one that stays.
    items.sort_by_cached_key(&key);
    items.dedup_by(|later, earlier| key(later) == key(earlier));
    items.shrink_to_fit();
}
