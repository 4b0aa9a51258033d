//! What a hop is called.

use crate::verdict::{Hop, Origin};

/// A container, or whatever stands for one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Who {
    pub(crate) namespace: Option<String>,
    pub(crate) pod: Option<String>,
    pub(crate) uid: Option<String>,
    pub(crate) workload: Option<String>,
    pub(crate) container: Option<String>,
    pub(crate) process: Option<String>,
}

impl Who {
    pub(crate) fn is_pod(&self) -> bool {
        self.pod.is_some() || self.uid.is_some()
    }

    pub(crate) fn hop(&self) -> Hop {
        Hop {
            namespace: self.namespace.clone(),
            pod: self.pod.clone().or_else(|| self.uid.clone()),
            workload: self.workload.clone(),
            container: self.container.clone(),
            process: self.process.clone(),
            ..Hop::default()
        }
    }

    pub(crate) fn origin(&self) -> Origin {
        let Hop { namespace, pod, workload, container, process, .. } = self.hop();
        Origin { namespace, pod, workload, container, process, ..Origin::default() }
    }

    /// `namespace/pod`, or whatever there is.
    pub(crate) fn label(&self) -> String {
        match (&self.namespace, &self.pod, &self.uid) {
            (Some(namespace), Some(pod), _) => format!("{namespace}/{pod}"),
            (_, Some(pod), _) => pod.clone(),
            (_, _, Some(uid)) => format!("pod {uid}"),
            _ => self.process.clone().or_else(|| self.container.clone()).unwrap_or_else(|| "a process".to_owned()),
        }
    }
}
