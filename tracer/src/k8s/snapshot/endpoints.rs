//! The endpoints of a Service, from whichever record of them the cluster state holds.

use std::net::IpAddr;

use super::Snapshot;
use crate::k8s::model::{EndpointAddress, EndpointSubset, Protocol, Service, TargetRef};

/// Who answers for a Service, in a fixed order.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceEndpoints {
    pub ready: Vec<Endpoint>,
    pub not_ready: Vec<Endpoint>,
    pub source: EndpointSource,
}

impl ServiceEndpoints {
    /// Whether an empty `ready` means that nobody answers, rather than that nothing is known.
    pub fn is_known(&self) -> bool {
        self.source != EndpointSource::Unknown
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EndpointSource {
    EndpointSlices,
    Endpoints,
    /// Derived from the selector and the Ready conditions, because the state holds no endpoints of any Service.
    Pods,
    /// No record, and no selector (or no pods at all) to derive one from.
    Unknown,
}

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Endpoint {
    pub address: IpAddr,
    /// Empty: every port.
    pub ports: Vec<EndpointPort>,
    /// The pod's name, in the Service's namespace.
    pub pod: Option<String>,
    pub node: Option<String>,
    /// Being deleted; such an endpoint is never ready, though it may still serve.
    pub terminating: bool,
}

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct EndpointPort {
    /// The name of the Service's port it belongs to, empty for the only one.
    pub name: String,
    pub port: u16,
    pub protocol: Protocol,
}

impl Snapshot {
    /// Ready and other endpoints: from EndpointSlices, else from Endpoints, else derived from the pods.
    pub fn endpoints(&self, service: &Service) -> ServiceEndpoints {
        let mut found = if !self.objects.endpoint_slices.is_empty() {
            self.endpoints_by_slices(service)
        } else if !self.objects.endpoints.is_empty() {
            self.endpoints_by_object(service)
        } else {
            self.endpoints_by_pods(service)
        };
        for list in [&mut found.ready, &mut found.not_ready] {
            list.sort();
            // Slices may overlap for a moment while the controller moves an endpoint between them.
            list.dedup();
        }
        found
    }

    fn endpoints_by_slices(&self, service: &Service) -> ServiceEndpoints {
        let mut found = ServiceEndpoints::none(EndpointSource::EndpointSlices);
        for slice in self.slices_of(service) {
            let ports: Vec<_> = slice
                .ports
                .iter()
                .filter_map(|port| {
                    Some(EndpointPort { name: port.name.to_string(), port: port.port?, protocol: port.protocol })
                })
                .collect();
            for entry in &slice.endpoints {
                let terminating = entry.conditions.terminating == Some(true);
                let ready = entry.conditions.ready != Some(false);
                // A name (address type FQDN) is no address.
                for address in entry.addresses.iter().filter_map(|text| text.parse::<IpAddr>().ok()) {
                    found.add(
                        ready,
                        Endpoint {
                            address: address.to_canonical(),
                            ports: ports.clone(),
                            pod: pod_name(entry.target_ref.as_ref()),
                            node: entry.node_name.as_ref().map(ToString::to_string),
                            terminating,
                        },
                    );
                }
            }
        }
        found
    }

    fn endpoints_by_object(&self, service: &Service) -> ServiceEndpoints {
        let mut found = ServiceEndpoints::none(EndpointSource::Endpoints);
        let (namespace, name) = (&service.metadata.namespace, &service.metadata.name);
        let own = self.objects.endpoints.named(namespace, name).next();
        for subset in own.into_iter().flat_map(|endpoints| &endpoints.subsets) {
            for (ready, addresses) in [(true, &subset.addresses), (false, &subset.not_ready_addresses)] {
                for endpoint in addresses.iter().filter_map(|address| from_subset(subset, address)) {
                    found.add(ready, endpoint);
                }
            }
        }
        found
    }

    fn endpoints_by_pods(&self, service: &Service) -> ServiceEndpoints {
        if service.spec.selector.is_empty() || self.objects.pods.is_empty() {
            return ServiceEndpoints::none(EndpointSource::Unknown);
        }
        let mut found = ServiceEndpoints::none(EndpointSource::Pods);
        for pod in self.selected_pods(service) {
            let Some(address) = pod.addresses().next() else { continue };
            let ports: Vec<_> = service
                .spec
                .ports
                .iter()
                .filter_map(|port| {
                    let number = self.target_port(service, port, pod)?;
                    Some(EndpointPort { name: port.name.clone(), port: number, protocol: port.protocol })
                })
                .collect();
            if ports.is_empty() && !service.spec.ports.is_empty() {
                continue;
            }
            let ready = pod.is_ready() || service.spec.publish_not_ready_addresses;
            found.add(
                ready,
                Endpoint {
                    address,
                    ports,
                    pod: Some(pod.metadata.name.clone()),
                    node: pod.spec.node_name.clone(),
                    terminating: pod.metadata.deletion_timestamp.is_some(),
                },
            );
        }
        found
    }
}

impl ServiceEndpoints {
    fn none(source: EndpointSource) -> Self {
        Self { ready: Vec::new(), not_ready: Vec::new(), source }
    }

    fn add(&mut self, ready: bool, endpoint: Endpoint) {
        if ready { self.ready.push(endpoint) } else { self.not_ready.push(endpoint) }
    }
}

fn from_subset(subset: &EndpointSubset, entry: &EndpointAddress) -> Option<Endpoint> {
    let ports = subset.ports.iter();
    Some(Endpoint {
        address: entry.ip.parse::<IpAddr>().ok()?.to_canonical(),
        ports: ports
            .map(|port| EndpointPort { name: port.name.clone(), port: port.port, protocol: port.protocol })
            .collect(),
        pod: pod_name(entry.target_ref.as_ref()),
        node: entry.node_name.clone(),
        terminating: false,
    })
}

fn pod_name(target: Option<&TargetRef>) -> Option<String> {
    target.filter(|target| target.kind == "Pod").map(|target| target.name.to_string())
}
