//! A capture of the running kernel.

use std::path::PathBuf;
use std::time::Duration;

use tracer_common::event::{Cgroup, Header, kind};
use zerocopy::FromBytes;

use super::answer::Node;
use super::feed::Feed;
use super::hybrid::Hybrid;
use super::kernel_counts::{self, CgroupName};
use super::listener::Listener;
use super::naming::Naming;
use super::progress::Progress;
use super::ready::{notes, ready};
use super::stop::Stop;
use super::sweep::{self, Losses};
use super::watch::Watch;
use super::{Finished, PipelineError, object};
use crate::clock;
use crate::correlate::{Correlator, Options, Selection, Want};
use crate::event::record::{self, Writer};
use crate::event::{Event, HostFact, Ktime, Record, decode};
use crate::host::cgroups::Cgroups;
use crate::host::proc::Proc;
use crate::k8s::Snapshot;
use crate::k8s::watch::Watch as ClusterWatch;
use crate::kernel::{self, Kernel, KernelNames};
use crate::private;
use rustc_hash::FxHashMap;

/// Events taken from the rings before anything else is looked at.
const BATCH: usize = 4096;
/// As many batches are taken after the end; the rings hold no more.
const LAST_BATCHES: usize = 64;
/// Time passes for the core in such steps.
const TICK_NS: Ktime = 100_000_000;
/// Between two looks at the maps; where there is much to see, so many times as long as a look takes, and a tick at most.
const LOOK_NS: Ktime = 20_000_000;
const LOOK_SHARE: Ktime = 10;
const SECOND_NS: Ktime = 1_000_000_000;
/// Between two looks for connections that may be forgotten.
const IDLE_NS: Ktime = 30 * SECOND_NS;
/// Opaque processes told apart, and for how long after they were seen.
const OPAQUE: usize = 10_000;
const OPAQUE_NS: Ktime = 3600 * SECOND_NS;
/// An answer may lead to a question; so many times at once.
const ROUNDS: usize = 3;

/// What to capture.
#[derive(Debug)]
pub struct Setup {
    pub kernel: kernel::Options,
    pub selection: Selection,
    pub node: Option<String>,
    pub snapshot: Snapshot,
    /// What changes it, and how the watch fares so far.
    pub cluster: Option<(ClusterWatch, Vec<Event>)>,
    /// Where the capture is written, if it is.
    pub file: Option<PathBuf>,
}

/// Hooks attached, and everything that listens to them.
pub struct Live<L> {
    kernel: Kernel,
    naming: Naming,
    hybrid: Hybrid,
    node: Node,
    feed: Feed<L>,
    losses: Losses,
    watch: Watch,
    cluster: Option<ClusterWatch>,
    started: Ktime,
    last_tick: Ktime,
    last_second: Ktime,
    last_idle: Ktime,
    last_look: Ktime,
    look_wanted: bool,
    look_pause: Ktime,
    opaque: FxHashMap<(u64, u32), Ktime>,
}

impl<L: Listener> Live<L> {
    /// Attaches the hooks and says so to the listener, which is made knowing what to add to the kernel's time for
    /// wall-clock time.
    ///
    /// # Errors
    /// Where this node can't be observed, or the capture file or the output can't be written.
    pub fn start(setup: Setup, listener: impl FnOnce(i64) -> L) -> Result<Self, PipelineError> {
        let Setup { kernel: options, selection, node: node_name, snapshot, cluster, file } = setup;
        let kernel = Kernel::start(object::object(), &options)?;
        let session = &kernel.session;
        let wall_offset_ns = clock::wall_offset_ns();
        let core = Options {
            min_status: options.min_status,
            wall_offset_ns,
            node: node_name,
            cgroup: session.cgroup.as_ref().map(|(_, path)| path.clone()),
            selection,
            notes: notes(session),
        };
        let ready = ready(session, &core, &snapshot);
        let file = match file {
            Some(path) => {
                let header = record::Header::new(core.clone(), ready.kernel.clone());
                let file = private::options().write(true).truncate(true).open(&path);
                let writer = file.and_then(|file| Writer::new(file, &header, &snapshot));
                Some((path.clone(), writer.map_err(|source| PipelineError::File { path, source })?))
            }
            None => None,
        };
        let node = Node::new(&options.host_root);
        let naming = Naming::new(Cgroups::read(session.cgroup_mount.clone()), core.cgroup.clone(), node.own_tgid());
        // Only a whole node's pods can be without directories of their own.
        let hybrid = Hybrid::new(Proc::new(&options.host_root), core.cgroup.is_none());
        let feed =
            Feed::new(Correlator::new(core, snapshot), listener(wall_offset_ns), file).with_progress(Progress::new());
        let (cluster, states) = cluster.unzip();
        let now = clock::monotonic_ns();
        let mut live = Self {
            kernel,
            naming,
            hybrid,
            node,
            feed,
            losses: Losses::default(),
            watch: Watch::default(),
            cluster,
            started: now,
            last_tick: now,
            last_second: now,
            last_idle: now,
            last_look: 0,
            look_wanted: false,
            look_pause: LOOK_NS,
            opaque: FxHashMap::default(),
        };
        live.feed.listener().ready(&ready).map_err(PipelineError::Output)?;
        live.feed.progress().begin(ready.hooks.len(), ready.cgroup.as_deref());
        live.feed.push(Record { at: now, event: Event::Tick })?;
        for event in states.into_iter().flatten() {
            live.feed.push(Record { at: now, event })?;
        }
        let facts = live.node.initial(&live.naming);
        live.tell_facts(facts, now)?;
        Ok(live)
    }

    /// Observes until it is told to stop, then says how much it saw.
    ///
    /// # Errors
    /// Where the kernel, the capture file or the output fail.
    pub async fn run(mut self, mut stop: Stop) -> Result<Finished, PipelineError> {
        let stop = stop.requested();
        tokio::pin!(stop);
        loop {
            let pause = Duration::from_nanos(if self.look_wanted { self.look_pause } else { TICK_NS });
            tokio::select! {
                biased;
                () = &mut stop => break,
                () = tokio::time::sleep(pause) => {}
                ready = self.kernel.rings.ready() => ready.map_err(PipelineError::Wait)?,
                () = changed(&mut self.cluster) => {}
            }
            let newest = self.drain()?;
            // Before time passes for the core, it is told what it asked for: on a busy node a verdict may be due already.
            self.answer()?;
            // Nor does time pass what still waits in the rings.
            let now = newest.unwrap_or_else(clock::monotonic_ns);
            self.take_changes(now)?;
            if now.saturating_sub(self.last_tick) >= TICK_NS {
                self.last_tick = now;
                self.tick(now)?;
                if self.feed.listener().is_abandoned() {
                    break;
                }
            }
            self.answer()?;
        }
        self.end()
    }

    fn end(mut self) -> Result<Finished, PipelineError> {
        self.feed.progress().clear();
        // What arrives while this is read belongs to the next capture.
        for _ in 0..LAST_BATCHES {
            if self.drain()?.is_none() {
                break;
            }
        }
        let now = clock::monotonic_ns();
        let records = sweep::look(&mut self.kernel, &mut self.losses, now)?;
        self.tell(records)?;
        self.answer()?;
        // The file ends with the time at which everything is decided, so a replay decides it then, too.
        self.tick(clock::monotonic_ns())?;
        self.answer()?;
        self.feed.finish()?;
        let counters = self.kernel.tables.counters()?;
        let Self { feed, naming, .. } = &mut self;
        let summary = kernel_counts::summary(&counters, |cgroup| CgroupName {
            hop: feed.correlator.name_of_cgroup(cgroup),
            path: naming.path(cgroup).map(str::to_owned),
        });
        feed.conclude(summary)
    }

    /// Takes what the rings hold, at most [`BATCH`] events; the time of the newest if more may wait.
    fn drain(&mut self) -> Result<Option<Ktime>, PipelineError> {
        let Self { kernel, naming, losses, .. } = self;
        let Kernel { rings, session, symbols, .. } = kernel;
        let mut names = KernelNames { features: &session.features, symbols };
        let mut batch = Vec::new();
        let drained = rings.drain(BATCH, |_, bytes| {
            if let Some((id, path, removed)) = cgroup_change(bytes) {
                naming.changed(id, &path, removed);
                return;
            }
            match decode::decode(bytes, &mut names) {
                Ok(record) => batch.push(record),
                Err(error) => losses.undecodable(&error),
            }
        });
        // Stable: the rings are read failures first, and each CPU's events are in order.
        batch.sort_by_key(|record| record.at);
        let newest = batch.last().map(|record| record.at);
        self.tell(batch)?;
        Ok(newest.filter(|_| drained.more))
    }

    /// Tells the core what became of the cluster.
    fn take_changes(&mut self, at: Ktime) -> Result<(), PipelineError> {
        let Some(watch) = &mut self.cluster else { return Ok(()) };
        let events = watch.take(self.feed.correlator.snapshot());
        events.into_iter().try_for_each(|event| self.feed.push(Record { at, event }))
    }

    fn tick(&mut self, now: Ktime) -> Result<(), PipelineError> {
        let overdue = sweep::overdue(&self.kernel, &mut self.losses, now)?;
        self.tell(overdue)?;
        for event in self.losses.changed(&self.kernel)? {
            self.feed.push(Record { at: now, event })?;
        }
        let slow = self.watch.slow(&self.kernel, &mut self.naming, now)?;
        self.node.note_slow(&slow, clock::monotonic_ns());
        if now.saturating_sub(self.last_second) >= SECOND_NS {
            self.last_second = now;
            if now.saturating_sub(self.last_look) >= SECOND_NS {
                self.kernel.flight.rest();
            }
            let pods = self.node.late_pods();
            self.tell_facts(pods, now)?;
            self.count_opaque(now)?;
            self.feed.flush_file()?;
            self.show_progress(now)?;
            self.feed.second(now, &self.kernel)?;
            for id in self.feed.listener().unnamed() {
                let name = self.naming.introduce_cgroup(id, now);
                self.tell_name(name)?;
            }
        }
        if now.saturating_sub(self.last_idle) >= IDLE_NS {
            self.last_idle = now;
            sweep::forget_idle(&self.kernel, now)?;
        }
        self.feed.push(Record { at: now, event: Event::Tick })
    }

    /// Counts the processes whose connections can't be read: those open now, added to those of an hour's looks.
    fn count_opaque(&mut self, at: Ktime) -> Result<(), PipelineError> {
        let before = self.opaque.len();
        for (cgroup, tgid) in self.kernel.tables.opaque()? {
            let path = self.naming.path(cgroup).map(str::to_owned);
            let known = self.opaque.contains_key(&(cgroup, tgid));
            if self.naming.observes(path.as_deref()) && (known || self.opaque.len() < OPAQUE) {
                self.opaque.insert((cgroup, tgid), at);
            }
        }
        self.opaque.retain(|_, seen| at.saturating_sub(*seen) < OPAQUE_NS);
        if self.opaque.len() == before {
            return Ok(());
        }
        self.feed.push(Record { at, event: Event::Opaque { processes: self.opaque.len() as u64 } })
    }

    /// Tells the core what it asked for.
    fn answer(&mut self) -> Result<(), PipelineError> {
        for _ in 0..ROUNDS {
            let wants = self.feed.correlator.wants();
            self.look_wanted |= wants.contains(&Want::Flight);
            if let Some(cluster) = &self.cluster {
                wants.iter().for_each(|want| {
                    if let Want::Pod { address } = want {
                        cluster.ask_for(*address);
                    }
                });
            }
            let facts = self.node.answer(&wants, clock::monotonic_ns());
            let now = clock::monotonic_ns();
            let look = self.look_wanted && now.saturating_sub(self.last_look) >= self.look_pause;
            if facts.is_empty() && !look {
                break;
            }
            self.tell_facts(facts, now)?;
            if look {
                (self.look_wanted, self.last_look) = (false, now);
                let records = sweep::look(&mut self.kernel, &mut self.losses, now)?;
                self.tell(records)?;
                let took = clock::monotonic_ns().saturating_sub(now);
                self.look_pause = (took * LOOK_SHARE).clamp(LOOK_NS, TICK_NS);
            }
        }
        Ok(())
    }

    fn tell_facts(&mut self, facts: Vec<HostFact>, at: Ktime) -> Result<(), PipelineError> {
        facts.into_iter().try_for_each(|fact| self.feed.push(Record { at, event: Event::Host(fact) }))
    }

    fn tell(&mut self, records: Vec<Record>) -> Result<(), PipelineError> {
        for mut record in records {
            if !self.naming.wants(&record.event) {
                continue;
            }
            let path = self.naming.path_of(&record.event).map(str::to_owned);
            if let Some((id, path)) = self.hybrid.place(&mut record, path.as_deref())
                && self.naming.tells(id)
            {
                self.node.note_cgroup(&path);
                self.feed.push(Record { at: record.at, event: Event::Cgroup { id, path } })?;
            }
            let name = self.naming.introduce(&record);
            self.tell_name(name)?;
            self.feed.push(record)?;
        }
        Ok(())
    }

    fn tell_name(&mut self, name: Option<Record>) -> Result<(), PipelineError> {
        let Some(name) = name else { return Ok(()) };
        if let Event::Cgroup { path, .. } = &name.event {
            self.node.note_cgroup(path);
        }
        self.feed.push(name)
    }

    fn show_progress(&mut self, now: Ktime) -> Result<(), PipelineError> {
        if self.feed.progress().is_visible() {
            let requests = kernel_counts::requests(&self.kernel.tables.counters()?);
            let failures = self.feed.failures();
            self.feed.progress().show((now - self.started) / SECOND_NS, requests, failures);
        }
        Ok(())
    }
}

/// Waits for news of the cluster, for ever where nobody watches it.
async fn changed(watch: &mut Option<ClusterWatch>) {
    match watch {
        Some(watch) => watch.ready().await,
        None => std::future::pending().await,
    }
}

/// Directories of the cgroup tree that come and go are not told as they are, but when something names them.
fn cgroup_change(bytes: &[u8]) -> Option<(u64, String, bool)> {
    let (header, _) = Header::read_from_prefix(bytes).ok()?;
    let removed = match header.kind {
        kind::CGROUP_MKDIR => false,
        kind::CGROUP_RMDIR => true,
        _ => return None,
    };
    let (cgroup, _) = Cgroup::read_from_prefix(bytes).ok()?;
    let path = cgroup.path.split(|byte| *byte == 0).next().unwrap_or_default();
    Some((cgroup.cgroup_id, String::from_utf8_lossy(path).into_owned(), removed))
}
