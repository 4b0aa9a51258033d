//! Loads the programs once, and collects what they say in a thread of its own.

use std::sync::mpsc::{self, Sender};
use std::sync::{Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

use tracer::event::decode::{self, DecodeError};
use tracer::event::{Event, Record};
use tracer::kernel::features::Features;
use tracer::kernel::{Kernel, KernelNames, Options, object};
use tracer_common::event::Header;
use zerocopy::FromBytes;

/// Longer than anything that isn't a mistake takes, also on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// One event as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) kind: u16,
    pub(crate) record: Result<Record, DecodeError>,
}

type Task = Box<dyn FnOnce(&mut Kernel) + Send>;

pub(crate) struct Observer {
    seen: Mutex<(Vec<Seen>, Vec<Record>)>,
    changed: Condvar,
    tasks: Mutex<Sender<Task>>,
}

/// The observer; the first call starts it.
pub(crate) fn observer() -> &'static Observer {
    static OBSERVER: OnceLock<&'static Observer> = OnceLock::new();
    OBSERVER.get_or_init(|| {
        let (tasks, queue) = mpsc::channel::<Task>();
        let observer: &Observer =
            Box::leak(Box::new(Observer { seen: Mutex::default(), changed: Condvar::new(), tasks: Mutex::new(tasks) }));
        let (ready, started) = mpsc::channel();
        std::thread::spawn(move || {
            let mut kernel = match Kernel::start(object::OBJECT, &Options::default()) {
                Ok(kernel) => kernel,
                Err(error) => return ready.send(Err(error.to_string())).unwrap(),
            };
            ready.send(Ok(())).unwrap();
            loop {
                observer.pass(&mut kernel);
                // The pause between two looks at the rings; a task ends it early.
                if let Ok(task) = queue.recv_timeout(Duration::from_millis(2)) {
                    task(&mut kernel);
                }
            }
        });
        started.recv().unwrap().expect("the kernel programs must load: run the tests as root");
        observer
    })
}

impl Observer {
    fn pass(&self, kernel: &mut Kernel) {
        let Kernel { session, rings, flight, symbols, .. } = kernel;
        let mut names = KernelNames { features: &session.features, symbols };
        let mut new = Vec::new();
        rings.drain(100_000, |_, bytes| {
            let kind = Header::read_from_prefix(bytes).unwrap().0.kind;
            new.push(Seen { kind, record: decode::decode(bytes, &mut names) });
        });
        let (records, _) = flight.read_new().unwrap();
        let good: Vec<_> = records.iter().filter_map(|record| decode::flight(record).ok()).collect();
        if !new.is_empty() || !good.is_empty() {
            let mut seen = self.seen.lock().unwrap();
            seen.0.extend(new);
            seen.1.extend(good);
            self.changed.notify_all();
        }
    }

    /// Asks the kernel's side something.
    pub(crate) fn ask<T: Send + 'static>(&self, question: impl FnOnce(&mut Kernel) -> T + Send + 'static) -> T {
        let (answer, answered) = mpsc::channel();
        let task: Task = Box::new(move |kernel| answer.send(question(kernel)).unwrap());
        self.tasks.lock().unwrap().send(task).unwrap();
        answered.recv_timeout(PATIENCE).expect("the observer answers")
    }

    /// What the looker sees in all events, as soon as it sees something.
    pub(crate) fn wait<T>(&self, what: &str, mut look: impl FnMut(&[Seen]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = self.seen.lock().unwrap();
        loop {
            if let Some(found) = look(&seen.0) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // Without the lock: one test's failure isn't the others'.
                drop(seen);
                panic!("no event in {PATIENCE:?}: {what}");
            }
            seen = self.changed.wait_timeout(seen, left.min(Duration::from_millis(100))).unwrap().0;
        }
    }

    /// What was found out about the kernel.
    pub(crate) fn features(&self) -> Features {
        self.ask(|kernel| kernel.session.features.clone())
    }

    /// Everything so far that passes the filter. What can't be decoded is a failure: it may be anything.
    pub(crate) fn all(&self, filter: impl Fn(&Record) -> bool) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap();
        let other_protocol = |error: &DecodeError| matches!(error, DecodeError::NotHttp | DecodeError::NotDns);
        let broken = seen.0.iter().find(|seen| seen.record.as_ref().is_err_and(|error| !other_protocol(error)));
        assert!(broken.is_none(), "{broken:?}");
        seen.0.iter().filter(|seen| seen.record.as_ref().is_ok_and(&filter)).cloned().collect()
    }

    /// Flight records so far that pass the filter.
    pub(crate) fn flights(&self, filter: impl Fn(&Record) -> bool) -> Vec<Record> {
        // Those not yet read are read now.
        self.ask(|_| ());
        self.ask(|_| ());
        self.seen.lock().unwrap().1.iter().filter(|record| filter(record)).cloned().collect()
    }
}

/// The network namespace that an event belongs to, 0 for those of processes and cgroups.
pub(crate) fn netns(event: &Event) -> u32 {
    match event {
        Event::Exchange(it) => it.netns,
        Event::Connect(it) => it.netns,
        Event::ConnectAttempt(it) => it.netns,
        Event::Signal(it) => it.netns,
        Event::Drop(it) => it.netns,
        Event::Icmp(it) => it.netns,
        Event::Dns(it) => it.netns,
        _ => 0,
    }
}
