//! What could not be seen: losses, what can't be read, what a kernel lacks.

use std::collections::BTreeMap;

use super::Correlator;
use crate::verdict::Coverage;

impl Correlator {
    /// What could not be seen, as of now.
    pub fn coverage(&self) -> Coverage {
        let losses = self.losses();
        let mut notes = self.notes();
        notes.extend(self.watch_notes());
        notes.extend(losses.iter().map(|(place, count)| format!("{count} lost: {place}")));
        if self.inquiries.skipped > 0 {
            notes.push(format!("{} looks at the node left out: too many failures at once", self.inquiries.skipped));
        }
        Coverage {
            lost_events: losses.values().sum(),
            opaque_tls_processes: self.opaque_tls.values().sum(),
            joined_connections: self.joined.values().sum(),
            notes,
        }
    }

    /// What the nodes' kernels lack.
    pub fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = Vec::new();
        for note in self.nodes.options().flat_map(|options| &options.notes) {
            if !notes.contains(note) {
                notes.push(note.clone());
            }
        }
        notes
    }

    /// Totals of losses by place, those of all nodes together.
    pub fn losses(&self) -> BTreeMap<String, u64> {
        let mut losses = BTreeMap::new();
        for (place, count) in self.lost.values().flatten().filter(|(_, count)| *count > 0) {
            *losses.entry(place.clone()).or_default() += count;
        }
        losses
    }

    /// Losses that may have been evidence.
    pub(crate) fn lost_failures(&self) -> u64 {
        let evidence = ["failures", "connections", "heads", "dns_queries"];
        let lost = self.lost.values().flatten();
        lost.filter(|(place, _)| evidence.contains(&place.as_str())).map(|(_, count)| count).sum()
    }
}
