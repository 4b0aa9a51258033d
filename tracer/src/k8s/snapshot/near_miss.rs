//! Pods that a Service's selector nearly selects: what its author most likely meant.

use super::{Snapshot, Workload, selects};
use crate::k8s::model::{Labels, Pod, Service};

const MOST: usize = 5;

/// A pod that a selector misses by one label.
#[derive(Clone, Debug, PartialEq)]
pub struct NearMiss<'a> {
    pub pod: &'a Pod,
    pub workload: Workload,
    /// The selector's label that the pod doesn't carry.
    pub key: String,
    pub wanted: String,
    /// What the pod carries under that key, if anything.
    pub found: Option<String>,
}

impl Snapshot {
    /// The likeliest intended pods, best first, one per workload and five at most. Empty when the selector does select
    /// pods, or would select those of a known workload that is scaled to zero: then it is right and nothing is missing.
    pub fn near_misses(&self, service: &Service) -> Vec<NearMiss<'_>> {
        let selector = &service.spec.selector;
        if selector.is_empty() || !self.selected_pods(service).is_empty() || self.selects_a_template(service) {
            return Vec::new();
        }
        let mut misses: Vec<(u32, NearMiss<'_>)> = self
            .pods_in(&service.metadata.namespace)
            .filter(|pod| !pod.is_finished())
            .filter_map(|pod| self.near_miss(service, pod))
            .collect();
        // Stable: among equals the pods' order by name stays.
        misses.sort_by_key(|(distance, _)| *distance);
        let mut kept: Vec<NearMiss<'_>> = Vec::new();
        for (_, miss) in misses {
            if kept.len() < MOST && kept.iter().all(|other| other.workload != miss.workload) {
                kept.push(miss);
            }
        }
        kept
    }

    fn selects_a_template(&self, service: &Service) -> bool {
        self.objects.controllers.iter().any(|controller| {
            controller.metadata.namespace == service.metadata.namespace
                && selects(&service.spec.selector, &controller.spec.template.metadata.labels)
        })
    }

    fn near_miss<'a>(&self, service: &Service, pod: &'a Pod) -> Option<(u32, NearMiss<'a>)> {
        let selector = &service.spec.selector;
        let labels = &pod.metadata.labels;
        let unmet: Vec<_> = selector.iter().filter(|(key, value)| labels.get(key) != Some(*value)).collect();
        let resembling = unmet.iter().filter(|(key, value)| resembles(labels, key, value)).count();
        let workload = self.workload(pod);
        let named_alike = folded(&workload.name) == folded(&service.metadata.name);
        let matched = selector.len() - unmet.len();
        let is_near = if resembling == unmet.len() || named_alike {
            true
        } else {
            // Sharing all other labels says little when a Service already selects this pod: it is another component
            // of the same application.
            let shares_most = (unmet.len() == 1 && matched >= 1) || matched * 2 > selector.len();
            let extended = unmet.iter().all(|(key, value)| labels.get(key).is_some_and(|found| extends(found, value)));
            (shares_most || extended) && !self.is_selected_elsewhere(service, pod)
        };
        let (key, wanted) = *unmet.iter().find(|(key, value)| !resembles(labels, key, value)).or(unmet.first())?;
        let distance = 8 * u32::try_from(unmet.len()).unwrap_or(u32::MAX / 16)
            - 4 * u32::from(resembling == unmet.len())
            - 2 * u32::from(named_alike);
        is_near.then(|| {
            let found = labels.get(key).map(str::to_owned);
            (distance, NearMiss { pod, workload, key: key.to_owned(), wanted: wanted.to_owned(), found })
        })
    }

    fn is_selected_elsewhere(&self, service: &Service, pod: &Pod) -> bool {
        self.services_in(&pod.metadata.namespace).any(|other| {
            other.metadata.name != service.metadata.name
                && !other.spec.selector.is_empty()
                && selects(&other.spec.selector, &pod.metadata.labels)
        })
    }
}

/// Whether the labels hold nearly this pair: the key with a value that differs by case, separators or a letter or two,
/// or the same value under a key that means the same.
fn resembles(labels: &Labels, key: &str, value: &str) -> bool {
    if labels.get(key).is_some_and(|found| alike(found, value)) {
        return true;
    }
    // `app` and `app.kubernetes.io/name`, `App` and `app`.
    let same_key = |other: &str| folded(other) == folded(key) || (names_the_app(other) && names_the_app(key));
    labels.iter().any(|(other, found)| same_key(other) && alike(found, value))
}

fn names_the_app(key: &str) -> bool {
    matches!(key, "app" | "app.kubernetes.io/name" | "k8s-app" | "name" | "run" | "component" | "service")
}

fn alike(a: &str, b: &str) -> bool {
    let (a, b) = (folded(a), folded(b));
    // Short values differ by a letter without being related: v1 and v2, eu and us.
    a == b || (a.len().min(b.len()) >= 4 && differ_by_one_edit(a.as_bytes(), b.as_bytes()))
}

/// `cart-v2` and `cart`: one is the other with words behind it.
fn extends(a: &str, b: &str) -> bool {
    let rest =
        |long: &str, short: &str| !short.is_empty() && long.strip_prefix(short).is_some_and(|r| r.starts_with('-'));
    rest(a, b) || rest(b, a)
}

/// Lower case without separators.
fn folded(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// One letter replaced, inserted, removed, or two neighbours swapped.
fn differ_by_one_edit(a: &[u8], b: &[u8]) -> bool {
    let prefix = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[prefix..], &b[prefix..]);
    let suffix = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[..a.len() - suffix], &b[..b.len() - suffix]);
    (a.len() <= 1 && b.len() <= 1) || (a.len() == 2 && b.len() == 2 && a[0] == b[1] && a[1] == b[0])
}
