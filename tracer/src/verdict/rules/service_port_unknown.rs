//! `service-port-unknown`: a connect to a Service's ClusterIP, on a port that the Service doesn't have.

use super::common::connect_evidence;
use crate::{
    correlate::{Chain, Leaf, service_name},
    k8s::model::Protocol,
    verdict::{Context, Judgement, Origin, cause, evidence},
};

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let Leaf::Connect(leaf) = &chain.leaf else { return None };
    let service = leaf.target.service?;
    let address = leaf.connect.remote;
    if !service.is_at(address.ip()) || context.snapshot.service_port(service, address.port(), Protocol::Tcp).is_some() {
        return None;
    }
    let name = service_name(service);
    let ports: Vec<String> = service.spec.ports.iter().map(|p| p.port.to_string()).collect();
    let summary = format!("Service {name} has no port {}; it has {}", address.port(), ports.join(", "));
    let (namespace, short) = name.split_once('/').unwrap_or_default();
    let text = format!("Service {name} has the ports {}", ports.join(", "));
    Some(
        Judgement::new(cause::SERVICE_PORT_UNKNOWN, 0.96, summary)
            .origin(Origin {
                namespace: Some(namespace.to_owned()),
                service: Some(name.clone()),
                address: Some(address.to_string()),
                ..Origin::default()
            })
            .because([evidence("service", None, text), connect_evidence(context, leaf)])
            .next(format!("kubectl -n {namespace} get service {short} -o yaml")),
    )
}
