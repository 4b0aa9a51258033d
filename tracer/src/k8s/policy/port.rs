//! Ports of a rule.

use super::evaluate::Party;
use crate::k8s::model::{PolicyPort, PortRef, Protocol};

/// Whether a rule's `ports` admits the destination port. Absent and empty alike admit every port and protocol.
pub(super) fn ports_admit(ports: Option<&[PolicyPort]>, destination: Party<'_>, port: u16, protocol: Protocol) -> bool {
    match ports {
        None | Some([]) => true,
        Some(ports) => ports.iter().any(|entry| port_admits(entry, destination, port, protocol)),
    }
}

fn port_admits(entry: &PolicyPort, destination: Party<'_>, port: u16, protocol: Protocol) -> bool {
    let PolicyPort { port: wanted, end_port, protocol: wanted_protocol } = entry;
    if wanted_protocol.unwrap_or_default() != protocol {
        return false;
    }
    match (wanted, end_port) {
        (None, _) => true,
        (Some(PortRef::Number(first)), None) => *first == port,
        (Some(PortRef::Number(first)), Some(last)) => (*first..=*last).contains(&port),
        // A name means the destination's container port, which differs from pod to pod; an address has no names.
        (Some(PortRef::Name(name)), _) => destination.pod().is_some_and(|pod| {
            pod.running_containers()
                .flat_map(|container| &container.ports)
                .any(|entry| entry.name == *name && entry.protocol == protocol && entry.container_port == port)
        }),
    }
}
