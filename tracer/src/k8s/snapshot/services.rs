//! Services, their ports, and the pods they select.

use std::net::IpAddr;

use super::{AddressOwner, Snapshot, selects};
use crate::k8s::model::{Pod, PortRef, Protocol, Service, ServicePort};

const DNS_PORT: u16 = 53;

impl Snapshot {
    /// The port of a Service by number and protocol.
    pub fn service_port<'a>(&self, service: &'a Service, port: u16, protocol: Protocol) -> Option<&'a ServicePort> {
        service.spec.ports.iter().find(|entry| entry.port == port && entry.protocol == protocol)
    }

    /// The Service behind an address and port: a cluster IP (whatever the port, which may be one it doesn't have), an
    /// external address with that port, or a node port on a node's address.
    pub fn service_at(&self, address: IpAddr, port: u16, protocol: Protocol) -> Option<&Service> {
        let address = address.to_canonical();
        let of = |slots: &[u32], matches: fn(&ServicePort) -> Option<u16>| {
            let mut services = slots.iter().filter_map(|slot| self.objects.services.get(*slot));
            let serves = |entry: &ServicePort| matches(entry) == Some(port) && entry.protocol == protocol;
            services.find(|service| service.spec.ports.iter().any(serves))
        };
        let external = self.index.external(address);
        if let Some(service) = of(external, |entry| Some(entry.port)) {
            return Some(service);
        }
        match self.owner_of(address)? {
            // Which of those that share an external address isn't known of a port that none has.
            AddressOwner::Service(service) => (service.is_at(address) || external.len() == 1).then_some(service),
            AddressOwner::Node(_) => of(self.index.node_port(port, protocol), |entry| entry.node_port),
            AddressOwner::Pod(_) | AddressOwner::Departed(_) => None,
        }
    }

    /// The pods a Service's selector selects, ended ones left out; none for a Service without a selector.
    pub fn selected_pods<'a>(&'a self, service: &'a Service) -> Vec<&'a Pod> {
        self.matching_pods(service).filter(|pod| !pod.is_finished()).collect()
    }

    /// The ended pods that a Service's selector selects, such as evicted ones.
    pub fn ended_pods<'a>(&'a self, service: &'a Service) -> Vec<&'a Pod> {
        self.matching_pods(service).filter(|pod| pod.is_finished()).collect()
    }

    fn matching_pods<'a>(&'a self, service: &'a Service) -> impl Iterator<Item = &'a Pod> {
        let selector = &service.spec.selector;
        let pods = self.pods_in(&service.metadata.namespace);
        pods.filter(move |pod| !selector.is_empty() && selects(selector, &pod.metadata.labels))
    }

    /// The Services a pod stands behind, by selector; for Services without one, by their endpoints.
    pub fn services_of_pod(&self, pod: &Pod) -> Vec<&Service> {
        let behind = |service: &&Service| {
            if !service.spec.selector.is_empty() {
                return selects(&service.spec.selector, &pod.metadata.labels);
            }
            let endpoints = self.endpoints(service);
            endpoints.ready.iter().chain(&endpoints.not_ready).any(|endpoint| {
                endpoint.pod.as_deref() == Some(pod.metadata.name.as_str())
                    || (!pod.spec.host_network && pod.addresses().any(|address| address == endpoint.address))
            })
        };
        self.services_in(&pod.metadata.namespace).filter(behind).collect()
    }

    /// The port on the pod that a Service port leads to. `None` when the pod has no container port of that name, in
    /// which case the pod is no endpoint for it.
    pub fn target_port(&self, _service: &Service, port: &ServicePort, pod: &Pod) -> Option<u16> {
        match &port.target_port {
            // Zero is the unset value of Go clients.
            None | Some(PortRef::Number(0)) => Some(port.port),
            Some(PortRef::Number(number)) => Some(*number),
            Some(PortRef::Name(name)) => pod.named_port(name, port.protocol),
        }
    }

    /// Whether it answers DNS for the cluster: by the label every distribution keeps, by the well-known names, or by serving UDP port 53.
    pub fn is_dns_service(&self, service: &Service) -> bool {
        let metadata = &service.metadata;
        let serves = |protocol| self.service_port(service, DNS_PORT, protocol).is_some();
        metadata.labels.get("k8s-app").is_some_and(|app| app == "kube-dns")
            || (metadata.namespace == "kube-system"
                && (matches!(metadata.name.as_str(), "kube-dns" | "coredns") || serves(Protocol::Tcp)))
            || serves(Protocol::Udp)
    }
}
