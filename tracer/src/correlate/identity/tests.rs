use super::*;

impl Identity {
    /// What is held, and the most that may be.
    pub(crate) fn held(&self) -> [(&'static str, usize, usize); 8] {
        [
            ("cgroups", self.cgroups.len(), 2 * CGROUPS),
            ("logs", self.logs.len(), 2 * PODS),
            ("processes", self.processes.len(), 2 * PROCESSES),
            ("comms", self.comms.len(), 2 * CGROUPS),
            ("netns", self.netns.len(), 2 * NAMESPACES),
            ("netns_pods", self.netns_pods.len(), 2 * NAMESPACES),
            ("addresses", self.addresses.len(), 2 * ADDRESSES),
            ("names", self.names.len(), 2 * ADDRESSES),
        ]
    }
}
