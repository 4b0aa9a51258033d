//! What was seen of addresses: who answered there, and by which names they were asked for. As far as it isn't ambiguous.

use std::net::{IpAddr, SocketAddr};

use crate::recent::Recent;

/// Names of an address that are kept: with more than one it has none that can be told.
const NAMES: usize = 4;

/// Who answered at an address.
#[derive(Debug)]
pub(super) struct Servers {
    /// The cgroup.
    at: Recent<SocketAddr, u64>,
    /// Whatever the port, the cgroup and its network namespace; none once others answered at that address, too.
    alone: Recent<IpAddr, Option<(u64, u32)>>,
}

impl Servers {
    pub(super) fn new(bound: usize) -> Self {
        Self { at: Recent::new(bound), alone: Recent::new(bound) }
    }

    /// `is_same` tells whether another cgroup is of the same container or pod.
    pub(super) fn learn(&mut self, address: SocketAddr, cgroup: u64, netns: u32, is_same: impl Fn(u64) -> bool) {
        if address.ip().is_loopback() {
            return;
        }
        self.at.insert(address, cgroup);
        let known = self.alone.insert(address.ip(), Some((cgroup, netns)));
        if known.is_some_and(|known| known.is_none_or(|(other, _)| !is_same(other))) {
            self.alone.insert(address.ip(), None);
        }
    }

    pub(super) fn at(&self, address: SocketAddr) -> Option<u64> {
        self.at.get(&address).copied()
    }

    pub(super) fn alone_at(&self, address: IpAddr) -> Option<(u64, u32)> {
        self.alone.get(&address).copied().flatten()
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        self.alone.contains_key(&address)
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.at.forgotten() + self.alone.forgotten()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.at.len().max(self.alone.len())
    }
}

/// Names that DNS answers gave to addresses.
#[derive(Debug)]
pub(super) struct Names {
    /// By the container that had asked: what one means by an address isn't what another does.
    asked: Recent<(u64, IpAddr), Vec<String>>,
    all: Recent<IpAddr, Vec<String>>,
}

impl Names {
    pub(super) fn new(bound: usize) -> Self {
        Self { asked: Recent::new(bound), all: Recent::new(bound) }
    }

    pub(super) fn learn(&mut self, asker: u64, address: IpAddr, name: &str) {
        add(&mut self.asked, (asker, address), name);
        add(&mut self.all, address, name);
    }

    /// Those that a container asked for, or whoever did.
    pub(super) fn of(&self, asker: Option<u64>, address: IpAddr) -> &[String] {
        let own = asker.and_then(|asker| self.asked.get(&(asker, address)));
        own.or_else(|| self.all.get(&address)).map_or(&[], Vec::as_slice)
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.asked.forgotten() + self.all.forgotten()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.asked.len().max(self.all.len())
    }
}

fn add<K: Eq + std::hash::Hash>(to: &mut Recent<K, Vec<String>>, key: K, name: &str) {
    match to.touch(&key) {
        Some(names) if names.len() >= NAMES || names.iter().any(|known| known == name) => {}
        Some(names) => names.push(name.to_owned()),
        None => _ = to.insert(key, vec![name.to_owned()]),
    }
}
