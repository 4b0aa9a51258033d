//! What is inside the cluster, also where nobody has the address now.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Snapshot;
use super::index::Owner;
use crate::k8s::model::{EndpointSlice, Node};

/// The API server refuses a larger range for ClusterIPs: pkg/controlplane/apiserver/options/validation.go (1.34),
/// `maxCIDRBits`.
const SERVICE_BITS: u32 = 20;

impl Snapshot {
    /// Whether the address is a pod's, a Service's or a node's, was one's a moment ago, or is one that pods or Services are
    /// given: an endpoint of a pod that is gone is not outside.
    pub fn is_in_cluster(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let of_pods = |node: &Node| node.spec.pod_cidrs.iter().any(|cidr| cidr.contains(&address));
        self.owner_of(address).is_some()
            || self.nodes().any(of_pods)
            || self.is_among_cluster_ips(address)
            || self.is_endpoint_of_a_pod(address)
    }

    /// Whether it is next to pods' addresses. Where pods share a network with other machines that says little.
    pub fn is_near_pods(&self, address: IpAddr) -> bool {
        self.index.has_pods_near(address.to_canonical())
    }

    /// Between known ClusterIPs: their range is nobody else's.
    fn is_among_cluster_ips(&self, address: IpAddr) -> bool {
        let known = self.index.owners().filter(|(_, owner)| matches!(owner, Owner::ClusterIp(_)));
        let mut same = known.map(|(ip, _)| ip).filter(|ip| ip.is_ipv4() == address.is_ipv4()).map(bits);
        let Some(first) = same.next() else { return false };
        let differing = same.fold(0, |differing, ip| differing | (ip ^ first));
        let host_bits = u128::BITS - differing.leading_zeros();
        // Of one ClusterIP alone nothing follows.
        (1..=SERVICE_BITS).contains(&host_bits) && (bits(address) ^ first) >> host_bits == 0
    }

    /// Now, or as far as the history goes. An address that people wrote into an EndpointSlice has no pod.
    fn is_endpoint_of_a_pod(&self, address: IpAddr) -> bool {
        // As the API server writes addresses, too.
        let text = address.to_string();
        let names = |slice: &EndpointSlice| {
            slice.endpoints.iter().any(|endpoint| {
                endpoint.addresses.iter().any(|known| *known == text)
                    && endpoint.target_ref.as_ref().is_some_and(|target| target.kind == "Pod")
            })
        };
        self.objects.endpoint_slices.iter().chain(self.past.slices()).any(names)
    }
}

/// The network around an address that holds few others: what a node's pods are given.
pub(super) fn vicinity(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & !0xff).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}
