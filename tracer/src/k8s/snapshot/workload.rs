//! What a pod belongs to, as people call it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Snapshot;
use crate::k8s::model::{ControllerKind, OwnerReference, Pod};

/// Written `Deployment/frontend`.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Workload {
    pub kind: String,
    pub name: String,
}

impl Workload {
    pub fn new(kind: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind: kind.into(), name: name.into() }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

impl Snapshot {
    /// The outermost owner of a pod: by owner references where the state holds the owners, else by how Deployments and
    /// CronJobs name what they create.
    pub fn workload(&self, pod: &Pod) -> Workload {
        // A static pod is "owned" by its node.
        let Some(owner) = pod.metadata.controller().filter(|owner| owner.kind != "Node") else {
            return Workload::new("Pod", &pod.metadata.name);
        };
        match owner.kind.as_str() {
            "ReplicaSet" => self.parent(ControllerKind::ReplicaSet, pod, owner).unwrap_or_else(|| {
                match without_hash(&owner.name, pod.metadata.labels.get("pod-template-hash")) {
                    Some(name) => Workload::new("Deployment", name),
                    None => Workload::new("ReplicaSet", &owner.name),
                }
            }),
            "Job" => {
                self.parent(ControllerKind::Job, pod, owner).unwrap_or_else(|| match without_schedule(&owner.name) {
                    Some(name) => Workload::new("CronJob", name),
                    None => Workload::new("Job", &owner.name),
                })
            }
            _ => Workload::new(&owner.kind, &owner.name),
        }
    }

    /// What owns the owner; the owner itself when it is known and owned by nobody.
    fn parent(&self, kind: ControllerKind, pod: &Pod, owner: &OwnerReference) -> Option<Workload> {
        let controller = self.controller(kind, &pod.metadata.namespace, &owner.name)?;
        Some(match controller.metadata.controller() {
            Some(parent) => Workload::new(&parent.kind, &parent.name),
            None => Workload::new(&owner.kind, &owner.name),
        })
    }
}

/// `frontend-6b8c9d7f5` → `frontend`: by the pod's own hash label where it has one, else by the shape of the hash (the
/// alphabet that avoids words, so no vowels).
fn without_hash<'a>(name: &'a str, hash: Option<&str>) -> Option<&'a str> {
    let (base, suffix) = name.rsplit_once('-')?;
    let is_hash = match hash {
        Some(hash) => suffix == hash,
        None => (5..=10).contains(&suffix.len()) && suffix.bytes().all(|b| b"bcdfghjklmnpqrstvwxz2456789".contains(&b)),
    };
    (is_hash && !base.is_empty()).then_some(base)
}

/// `backup-28349280` → `backup`: CronJobs append the scheduled time in minutes.
fn without_schedule(name: &str) -> Option<&str> {
    let (base, time) = name.rsplit_once('-')?;
    (time.len() >= 8 && time.bytes().all(|b| b.is_ascii_digit()) && !base.is_empty()).then_some(base)
}
