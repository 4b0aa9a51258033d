//! The Kubernetes objects the tracer reads, trimmed to the fields it uses.
//!
//! Fields keep their API names (camelCase) and unknown ones are ignored, so one object of `kubectl get -o yaml` is one
//! value here. Two conventions:
//! - explicit `null`s are removed before decoding ([`Object::from_value`]), because the API server treats them as
//!   absent;
//! - where an *empty* value means something else than an *absent* one (network policy selectors and rules), the field is
//!   an `Option`; elsewhere absence is the default value.

mod controller;
mod endpoints;
mod event;
mod labels;
mod meta;
mod network_policy;
mod node;
mod object;
mod other;
mod pod;
mod port;
mod route;
mod service;

pub use controller::{Controller, ControllerKind, ControllerSpec, PodTemplate};
pub use endpoints::{
    EndpointAddress, EndpointConditions, EndpointSlice, EndpointSlicePort, EndpointSubset, EndpointSubsetPort,
    Endpoints, SliceEndpoint, TargetRef,
};
pub use event::{Event, EventSource, ObjectReference};
pub use labels::Labels;
pub use meta::{Condition, Metadata, OwnerReference};
pub use network_policy::{
    EgressRule, IngressRule, IpBlock, LabelSelector, NetworkPolicy, NetworkPolicySpec, Operator, Peer, PolicyPort,
    PolicyType, Requirement,
};
pub use node::{Namespace, Node, NodeAddress, NodeSpec, NodeStatus};
pub use object::{Object, ObjectError, Objects, drop_nulls};
pub use other::OtherObject;
pub use pod::{
    Container, ContainerPort, ContainerState, ContainerStatus, ExecAction, GrpcAction, HttpGetAction, Limits, Pod,
    PodIp, PodSpec, PodStatus, Probe, Resources, Running, TcpSocketAction, Terminated, Waiting,
};
pub use port::{PortRef, Protocol};
pub use route::Route;
pub use service::{LoadBalancerIngress, LoadBalancerStatus, Service, ServicePort, ServiceSpec, ServiceStatus};
