//! What Ingresses and HTTPRoutes say of the path that a proxy answered itself.

use super::{Context, Evidence, Judgement, cause, evidence};
use crate::correlate::{Chain, Leaf};
use crate::k8s::model::{OtherObject, Route};

/// Named at most, the most specific paths first.
const NAMED: usize = 3;

pub(super) fn attach(judgement: &mut Judgement, chain: &Chain<'_>, context: &Context<'_>) {
    let Leaf::Server(leaf) = &chain.leaf else { return };
    let Some(request) = leaf.exchange.request.as_ref().filter(|_| judgement.cause == cause::GATEWAY_NO_UPSTREAM) else {
        return;
    };
    let all = context.snapshot.others().flat_map(|object| object.routes.iter().map(move |route| (object, route)));
    let mut matching: Vec<_> = all.filter(|(_, route)| route.matches(&request.path)).collect();
    matching.sort_by_key(|(_, route)| std::cmp::Reverse(route.path.len()));
    judgement.evidence.extend(matching.into_iter().take(NAMED).map(|(object, route)| told(context, object, route)));
}

/// Which host was asked for isn't known, so it says what would be, not what is.
fn told(context: &Context<'_>, object: &OtherObject, route: &Route) -> Evidence {
    let (namespace, name) = &route.service;
    let state = match context.snapshot.service(namespace, name) {
        None => ", which doesn't exist",
        Some(service) => {
            let endpoints = context.snapshot.endpoints(service);
            if endpoints.is_known() && endpoints.ready.is_empty() { ", which has no ready endpoint" } else { "" }
        }
    };
    let Route { host, path, .. } = route;
    let host = host.as_deref().unwrap_or("any host ");
    evidence("route", None, format!("{} sends {host}{path} to Service {namespace}/{name}{state}", object.label()))
}
