//! The cluster's state from a live API server: one follower per kind, whose updates become changes of the snapshot.
//!
//! Only what the model keeps of an object outlives its arrival. Nothing here decides anything; a kind that can't be read
//! costs what [`Kind::gives`] says and nothing else.

mod connection;
mod follow;
mod kinds;
mod proxy;
mod rbac;

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::{FxBuildHasher, FxHashSet};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

pub use connection::{ConnectError, Source};
pub use kinds::{KINDS, Kind};
pub use rbac::cluster_role;

use crate::event::{Event, WatchState};
use crate::k8s::Snapshot;
use crate::k8s::snapshot::{Change, ObjectRef};
use connection::Connection;
use follow::{Follower, Update};

/// Updates on their way; a follower waits while so many are.
const QUEUE: usize = 256;
const LISTS_AT_ONCE: usize = 2;
/// Updates taken before the kernel's events are looked at again.
const BATCH: usize = 512;
/// A server that refuses at first may be only busy.
const GRACE: Duration = Duration::from_secs(3);
/// A pod of another node is asked for anew after this: its address may be another's by then.
const FETCHED: Duration = Duration::from_secs(60);

/// A running watch. Ends when dropped.
#[derive(Debug)]
pub struct Watch {
    updates: mpsc::Receiver<(usize, Update)>,
    waiting: VecDeque<(usize, Update)>,
    kinds: Vec<Progress>,
    /// Addresses whose pods are wanted; none where all pods are watched.
    addresses: Option<mpsc::Sender<IpAddr>>,
    /// Pods of other nodes, with when they came: nobody tells of their end.
    fetched: VecDeque<(Instant, ObjectRef)>,
    /// Ends the followers.
    _tasks: JoinSet<()>,
}

/// What is known of a kind.
#[derive(Debug, Default)]
struct Progress {
    /// Hashes of what the list that is coming in holds so far.
    listing: Option<FxHashSet<u64>>,
    listed: bool,
    /// As last told.
    state: Option<WatchState>,
}

impl Progress {
    fn is_out_of_reach(&self) -> bool {
        matches!(self.state, Some(WatchState::Absent | WatchState::Forbidden))
    }
}

impl Watch {
    /// Begins to follow every kind. With `node`, of the pods only those of that node.
    ///
    /// # Errors
    /// Where the source can't be read. A server that doesn't answer is no error: it may answer later.
    pub async fn start(source: Source, node: Option<&str>) -> Result<Self, ConnectError> {
        let connection = Arc::new(Connection::open(source).await?);
        let (sender, updates) = mpsc::channel(QUEUE);
        let lists = Arc::new(Semaphore::new(LISTS_AT_ONCE));
        let mut tasks = JoinSet::new();
        let follower = |number: usize, kind: &'static Kind, own: Option<String>| Follower {
            number,
            kind,
            well: if own.is_some() { WatchState::OfNode } else { WatchState::Current },
            fields: own.or_else(|| kind.fields.map(str::to_owned)),
            connection: Arc::clone(&connection),
            lists: Arc::clone(&lists),
            updates: sender.clone(),
        };
        let mut addresses = None;
        for (number, kind) in KINDS.iter().enumerate() {
            let own = node.filter(|_| kind.plural == "pods").map(|name| format!("spec.nodeName={name}"));
            if own.is_some() {
                let (asked, wanted) = mpsc::channel(QUEUE);
                tasks.spawn(follower(number, kind, None).look_up(wanted));
                addresses = Some(asked);
            }
            tasks.spawn(follower(number, kind, own).run());
        }
        let kinds = KINDS.iter().map(|_| Progress::default()).collect();
        Ok(Self { updates, waiting: VecDeque::new(), kinds, addresses, fetched: VecDeque::new(), _tasks: tasks })
    }

    /// Asks for the pod that has the address. One that is asked for while too many are is asked for again later.
    pub fn ask_for(&self, address: IpAddr) {
        if let Some(addresses) = &self.addresses {
            let _full = addresses.try_send(address);
        }
    }

    /// The state once every kind is listed or known to be out of reach; what there is of it when the time is over, or a
    /// moment after the server turned out not to answer. What is missing comes later, as changes.
    pub async fn first(&mut self, patience: Duration) -> (Snapshot, Vec<Event>) {
        let mut deadline = Instant::now() + patience;
        let mut snapshot = Snapshot::empty();
        let mut states = Vec::new();
        while self.kinds.iter().any(|kind| !kind.listed && !kind.is_out_of_reach()) {
            if timeout_at(deadline, self.ready()).await.is_err() {
                break;
            }
            for event in self.take(&snapshot) {
                match event {
                    Event::Cluster { changes } => changes.into_iter().for_each(|change| snapshot.begin_with(change)),
                    Event::Watch { state: WatchState::Stale { .. }, .. } => {
                        deadline = deadline.min(Instant::now() + GRACE);
                        states.push(event);
                    }
                    event => states.push(event),
                }
            }
        }
        (snapshot, states)
    }

    /// Waits until there is something to take. Nothing is lost when it is dropped.
    pub async fn ready(&mut self) {
        if self.waiting.is_empty() {
            match self.updates.recv().await {
                Some(update) => self.waiting.push_back(update),
                // The followers end only with us.
                None => std::future::pending().await,
            }
        }
    }

    /// What came in, as events for the core; `snapshot` is what it knows so far.
    pub fn take(&mut self, snapshot: &Snapshot) -> Vec<Event> {
        while self.waiting.len() < BATCH
            && let Ok(update) = self.updates.try_recv()
        {
            self.waiting.push_back(update);
        }
        let mut changes = Vec::new();
        let mut states = Vec::new();
        while let Some((_, place)) = self.fetched.pop_front_if(|(since, _)| since.elapsed() > FETCHED) {
            changes.push(Change::Remove(place));
        }
        for (number, update) in std::mem::take(&mut self.waiting) {
            let (kind, progress) = (&KINDS[number], &mut self.kinds[number]);
            let mut tell = |progress: &mut Progress, state: WatchState| {
                if progress.state.as_ref() != Some(&state) {
                    progress.state = Some(state.clone());
                    states.push(Event::Watch { resource: kind.resource(), state });
                }
            };
            match update {
                Update::Listing => progress.listing = Some(FxHashSet::default()),
                Update::Put(object) => {
                    let Some(place) = ObjectRef::of(&object).filter(|_| kind.keeps(&object)) else { continue };
                    if let Some(listing) = &mut progress.listing {
                        listing.insert(hash(&place));
                    }
                    if snapshot.holds(&object) {
                        continue;
                    }
                    if snapshot.count(place.collection) + changes.len() >= kind.most && !snapshot.has(&place) {
                        tell(progress, WatchState::Partial { most: kind.most });
                        continue;
                    }
                    changes.push(Change::Put(object));
                }
                Update::Fetched(object) => {
                    if let Some(place) = ObjectRef::of(&object).filter(|_| !snapshot.holds(&object)) {
                        self.fetched.push_back((Instant::now(), place));
                        changes.push(Change::Put(object));
                    }
                }
                Update::Removed(object) => changes.extend(ObjectRef::of(&object).map(Change::Remove)),
                Update::Listed => {
                    progress.listed = true;
                    let seen = progress.listing.take().unwrap_or_default();
                    let known = snapshot.refs(kind.collection()).into_iter().filter(|place| kind.owns(place, snapshot));
                    changes.extend(known.filter(|place| !seen.contains(&hash(place))).map(Change::Remove));
                }
                Update::Broken(message) => tracing::warn!("an object of the API server is passed over: {message}"),
                // A kind that isn't installed has no objects: nothing is unknown.
                Update::State(WatchState::Absent) if kind.gives.is_none() => progress.state = Some(WatchState::Absent),
                Update::State(state) => tell(progress, state),
            }
        }
        let changes = (!changes.is_empty()).then_some(Event::Cluster { changes });
        changes.into_iter().chain(states).collect()
    }
}

fn hash(place: &ObjectRef) -> u64 {
    FxBuildHasher.hash_one(place)
}
