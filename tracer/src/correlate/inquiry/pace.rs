//! How often what is asked, and how much in all.

use std::net::SocketAddr;

use rustc_hash::FxHashMap;

use crate::{correlate::around::NEAR_NS, event::Ktime};

/// The same is asked again after this,
const AGAIN_NS: u64 = 250_000_000;
/// and, while it goes on, after this at the latest: every failure has a reading near it.
const LATEST_NS: u64 = NEAR_NS;
/// Who lives in a network namespace changes less, and to find out takes a look at every process.
const LATEST_PROCESS_NS: u64 = 4_000_000_000;
/// What hasn't been asked for so long begins anew.
const CALM_NS: u64 = 5_000_000_000;
/// Listing a ruleset costs more, and rules stay.
const RULE_AGAIN_NS: u64 = 30_000_000_000;
/// Questions of a kind in one second: of what decides over a cause, and of logs, which tell more of it; and of network
/// namespaces, whose sockets the kernel looks for in a table of all sockets (`net/ipv4/tcp_ipv4.c`), for milliseconds.
const PER_SECOND: [u32; 3] = [128, 128, 16];
/// And in ten minutes: answers are kept in capture files, and looking costs.
const PER_PERIOD: u32 = 10_000;
const PERIOD_NS: u64 = 600_000_000_000;
/// Containers whose looks were left out.
const LEFT_OUT: usize = 4096;

/// What a question is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    /// A container and a process.
    Resources(u64, u32),
    /// A pod.
    Log(String),
    /// Namespace, hook and target of a dropped packet.
    Rule(u32, String, SocketAddr),
    /// Ports that a network namespace listens on.
    Listeners(u32),
    /// What its listeners had no room for.
    ListenCounts(u32),
    /// Who lives in it.
    Netns(u32),
}

impl Subject {
    fn kind(&self) -> usize {
        match self {
            Self::Resources(..) | Self::Rule(..) => 0,
            Self::Log(_) => 1,
            Self::Listeners(_) | Self::ListenCounts(_) | Self::Netns(_) => 2,
        }
    }

    /// Between two questions, after so many in a row.
    fn again(&self, times: u32) -> u64 {
        let slower = AGAIN_NS << times.saturating_sub(1).min(8);
        match self {
            Self::Rule(..) => RULE_AGAIN_NS,
            Self::Log(_) => AGAIN_NS,
            Self::Resources(..) | Self::Listeners(_) | Self::ListenCounts(_) => slower.min(LATEST_NS),
            Self::Netns(_) => slower.min(LATEST_PROCESS_NS),
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    at: Ktime,
    /// In a row.
    times: u32,
}

/// What was asked when.
#[derive(Debug, Default)]
pub(in crate::correlate) struct Pace {
    asked: FxHashMap<Subject, Asked>,
    /// The second that is counted, and what was asked in it, by kind.
    second: (Ktime, [u32; 3]),
    /// The ten minutes that are counted, likewise.
    period: (Ktime, [u32; 3]),
    /// Left unasked.
    pub(in crate::correlate) skipped: u64,
    /// When resources of a container were last left unasked.
    pub(in crate::correlate) left_out: FxHashMap<u64, Ktime>,
    /// The same of a server that wasn't known.
    pub(in crate::correlate) left_out_of_any: Option<Ktime>,
}

impl Pace {
    /// Resources aren't asked for: of that container, or of one that isn't known.
    pub(super) fn leave_out(&mut self, container: Option<u64>, now: Ktime) {
        match container.filter(|key| self.left_out.len() < LEFT_OUT || self.left_out.contains_key(key)) {
            Some(container) => _ = self.left_out.insert(container, now),
            None => self.left_out_of_any = Some(now),
        }
    }

    pub(super) fn has_asked(&self, subject: &Subject, at: Ktime) -> bool {
        self.asked.get(subject).is_some_and(|asked| asked.at == at)
    }

    /// Whether to ask, now; counts what isn't asked for want of room.
    pub(super) fn admits(&mut self, subject: Subject, now: Ktime) -> bool {
        let Asked { at, times } = self.asked.get(&subject).copied().unwrap_or_default();
        let times = if now.saturating_sub(at) < CALM_NS { times } else { 0 };
        if at != 0 && now.saturating_sub(at) < subject.again(times) {
            return false;
        }
        if now / 1_000_000_000 != self.second.0 {
            self.second = (now / 1_000_000_000, [0; 3]);
        }
        if now / PERIOD_NS != self.period.0 {
            self.period = (now / PERIOD_NS, [0; 3]);
        }
        let kind = subject.kind();
        if self.second.1[kind] >= PER_SECOND[kind] || self.period.1[kind] >= PER_PERIOD {
            self.skipped += 1;
            if let Subject::Resources(container, _) = subject {
                self.leave_out(Some(container), now);
            }
            return false;
        }
        self.second.1[kind] += 1;
        self.period.1[kind] += 1;
        self.asked.insert(subject, Asked { at: now, times: times + 1 });
        true
    }

    pub(super) fn expire(&mut self, limit: Ktime) {
        self.asked.retain(|_, asked| asked.at >= limit);
        self.left_out.retain(|_, at| *at >= limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn what_goes_on_failing_is_looked_at_less_often_but_every_second() {
        let mut pace = Pace::default();
        let asked = (1000..10_000).filter(|ms| pace.admits(Subject::Resources(1, 2), ms * MS));
        assert_eq!(asked.take(6).collect::<Vec<_>>(), [1000, 1250, 1750, 2750, 3750, 4750]);
        assert_eq!(pace.skipped, 0);
        assert!(pace.admits(Subject::Resources(1, 2), 20_000 * MS));
        assert!(pace.admits(Subject::Resources(1, 2), 20_250 * MS));
    }

    #[test]
    fn looks_are_bounded_and_those_left_out_are_their_containers() {
        let mut pace = Pace::default();
        let admitted = (0..200).filter(|container| pace.admits(Subject::Resources(*container, 0), MS)).count();
        assert_eq!((admitted, pace.skipped), (128, 72));
        assert!(pace.admits(Subject::Log("pod".into()), MS), "logs don't displace them, nor they logs");
        assert_eq!(pace.left_out.get(&127), None);
        assert_eq!(pace.left_out.get(&128), Some(&MS));
        assert!(pace.admits(Subject::Resources(128, 0), 1000 * MS), "another second");
    }
}
