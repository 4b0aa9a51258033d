//! What metrics call the ones who act and those who are called: few names, and never an address.

use std::net::SocketAddr;

use rustc_hash::FxHashSet;

use super::{Correlator, Identity, Who};
use crate::k8s::model::Protocol;
use crate::k8s::snapshot::AddressOwner;

/// Who acts. Unknown parts are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    pub namespace: String,
    /// `Kind/name`; outside of pods `Cgroup/name`, such as `Cgroup/kubelet.service`.
    pub workload: String,
    pub pod: String,
}

/// Who is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    pub namespace: String,
    /// The Service; `Kind/name` of a pod called directly; `node`; `external`.
    pub name: String,
}

impl Correlator {
    /// Who lives in a cgroup.
    pub fn owner_of_cgroup(&self, cgroup: u64) -> Owner {
        let mut found = owner(self.identity.who(&self.snapshot, cgroup, None));
        if found == Owner::default()
            && let Some(path) = self.identity.path_of(cgroup)
        {
            // It may hold many processes: the name of one of them would be that of the wrong one. The root has none.
            let name = path.rsplit('/').next().filter(|name| !name.is_empty());
            found.workload = name.map(|name| format!("Cgroup/{name}")).unwrap_or_default();
        }
        found
    }

    /// Who has an address: a pod, or nobody known.
    pub fn owner_at(&self, address: SocketAddr) -> Owner {
        match self.identity.pod_at(&self.snapshot, address.ip()) {
            Some(pod) => owner(Identity::who_pod(&self.snapshot, pod)),
            None => {
                let cgroup = self.identity.cgroup_at(&self.snapshot, address);
                cgroup.map(|cgroup| self.owner_of_cgroup(cgroup)).unwrap_or_default()
            }
        }
    }

    /// Whom a client calls at an address.
    pub fn peer_at(&self, address: SocketAddr) -> Peer {
        let snapshot = &self.snapshot;
        // Every name server answers on 53, whatever the Service calls its protocol.
        let service = |protocol| self.identity.service_at(snapshot, None, address, protocol);
        let service = service(Protocol::Tcp).or_else(|| service(Protocol::Udp));
        if let Some(service) = service {
            let meta = &service.metadata;
            return Peer { namespace: meta.namespace.clone(), name: meta.name.clone() };
        }
        let Owner { namespace, workload, pod } = self.owner_at(address);
        let name = match (workload, pod, snapshot.owner_of(address.ip())) {
            (workload, _, _) if !workload.is_empty() => workload,
            (_, pod, _) if !pod.is_empty() => format!("Pod/{pod}"),
            (_, _, Some(AddressOwner::Node(_))) => "node".to_owned(),
            _ if address.ip().is_loopback() => "node".to_owned(),
            _ => "external".to_owned(),
        };
        Peer { namespace, name }
    }

    /// Every workload that has a pod: namespace and `Kind/name`. Nothing where no cluster state is known.
    pub fn workloads(&self) -> FxHashSet<(String, String)> {
        let snapshot = &self.snapshot;
        let of = |pod| {
            let who = Identity::who_pod(snapshot, pod);
            who.namespace.zip(who.workload)
        };
        snapshot.pods().filter_map(of).collect()
    }
}

fn owner(who: Who) -> Owner {
    let Who { namespace, pod, uid, workload, container, .. } = who;
    let pod = pod.or(uid).unwrap_or_default();
    let workload = workload
        .or_else(|| (!pod.is_empty()).then(|| format!("Pod/{pod}")))
        .or_else(|| container.map(|id| format!("Container/{id}")))
        .unwrap_or_default();
    Owner { namespace: namespace.unwrap_or_default(), workload, pod }
}
