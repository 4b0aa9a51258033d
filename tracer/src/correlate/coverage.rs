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
        if self.inquiries.pace.skipped > 0 {
            notes
                .push(format!("{} looks at the node left out: too many failures at once", self.inquiries.pace.skipped));
        }
        let early: u64 = self.window.overflowed().iter().map(|(_, count)| count).sum();
        if early > 0 {
            notes.push(format!("{early} events were forgotten early: too many at once"));
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

    /// What made room for others so far, by what it was: nothing here grows without a bound.
    pub fn forgotten(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let one_by_one = [
            ("incidents", self.incidents.forgotten),
            ("symptoms", self.left_out),
            ("told", self.explained.forgotten() + self.consumed.forgotten()),
            ("looks", self.inquiries.pace.skipped),
        ];
        self.identity.forgotten().into_iter().chain(self.window.overflowed()).chain(one_by_one)
    }

    /// Losses that may have been evidence.
    pub(crate) fn lost_failures(&self) -> u64 {
        let evidence = ["failures", "connections", "heads", "dns_queries"];
        let lost = self.lost.values().flatten();
        lost.filter(|(place, _)| evidence.contains(&place.as_str())).map(|(_, count)| count).sum()
    }
}
