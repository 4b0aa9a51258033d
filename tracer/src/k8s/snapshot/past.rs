//! Earlier states: what undoes each change, so that the snapshot can be put back to any time within the history.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::index::is_called;
use super::store::Change;
use crate::event::Ktime;
use crate::k8s::model::{EndpointSlice, Object, Pod};

/// How long earlier states are kept: what the core remembers of the kernel's events, and the patience of a symptom.
pub(super) const KEEP_NS: Ktime = 150_000_000_000;
/// And how many changes at most: 50 a second for that time, and a rollout on top.
pub(super) const KEEP: usize = 10_000;
/// What befell a pod's containers is told by the kubelet, and by the API server, within this time.
const LATE_NS: Ktime = 5_000_000_000;

#[derive(Clone, Debug)]
struct Step {
    at: Ktime,
    /// Undoes the change; of a change that is undone, does it again.
    change: Change,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Past {
    done: VecDeque<Step>,
    undone: Vec<Step>,
    /// The time to which the snapshot was put back last.
    at: Ktime,
    /// Changes forgotten for their number, not for their age.
    forgotten: u64,
}

impl Past {
    pub(super) fn remember(&mut self, at: Ktime, undo: Change) {
        self.done.push_back(Step { at, change: undo });
        let old = |step: &Step| step.at.saturating_add(KEEP_NS) < at;
        while self.done.front().is_some_and(old) {
            self.done.pop_front();
        }
        if self.done.len() > KEEP {
            self.forgotten += 1;
            self.done.pop_front();
        }
    }

    pub(super) fn put_back_to(&mut self, at: Ktime) {
        self.at = at;
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The last change done after that time.
    pub(super) fn pop_done(&mut self, after: Ktime) -> Option<(Ktime, Change)> {
        let step = self.done.pop_back_if(|step| step.at > after)?;
        Some((step.at, step.change))
    }

    /// The first change undone that had been done by that time.
    pub(super) fn pop_undone(&mut self, until: Ktime) -> Option<(Ktime, Change)> {
        let step = self.undone.pop_if(|step| step.at <= until)?;
        Some((step.at, step.change))
    }

    pub(super) fn push_done(&mut self, at: Ktime, undo: Change) {
        self.done.push_back(Step { at, change: undo });
    }

    pub(super) fn push_undone(&mut self, at: Ktime, redo: Change) {
        self.undone.push(Step { at, change: redo });
    }

    pub(super) fn is_present(&self) -> bool {
        self.undone.is_empty()
    }

    /// The last pod that had the address before.
    pub(super) fn pod_at(&self, address: IpAddr) -> Option<&Pod> {
        self.pods().find(|pod| !pod.spec.host_network && pod.addresses().any(|own| own == address))
    }

    /// A pod that there was.
    pub(super) fn pod_by_uid(&self, uid: &str) -> Option<&Pod> {
        self.pods().find(|pod| is_called(pod, uid))
    }

    /// The last version of a pod that became known soon after the time to which the snapshot is put back.
    pub(super) fn soon_after(&self, uid: &str) -> Option<&Pod> {
        let until = self.at.saturating_add(LATE_NS);
        let late = self.undone.iter().filter(|step| step.at <= until);
        late.filter_map(Step::pod).find(|pod| pod.metadata.uid == uid)
    }

    /// Earlier versions of them.
    pub(super) fn slices(&self) -> impl Iterator<Item = &EndpointSlice> {
        self.done.iter().filter_map(|step| match &step.change {
            Change::Put(Object::EndpointSlice(slice)) => Some(slice.as_ref()),
            _ => None,
        })
    }

    /// Earlier versions, newest first.
    fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.done.iter().rev().filter_map(Step::pod)
    }
}

impl Step {
    fn pod(&self) -> Option<&Pod> {
        match &self.change {
            Change::Put(Object::Pod(pod)) => Some(pod),
            _ => None,
        }
    }
}
