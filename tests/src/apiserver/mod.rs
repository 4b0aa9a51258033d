//! A Kubernetes API server for tests: lists in pages and watches as the API concepts describe them, of whatever objects it
//! is given, over HTTP in the clear or under TLS, and with every fault that a watcher has to live with.

mod http;
mod proxy;
mod serve;
mod store;
mod stream;
mod tls;

use std::{
    collections::{HashMap, HashSet},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use store::Store;
use stream::Stream;

pub use tls::{Authority, Credentials};

/// What goes wrong.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Every request is answered so: 401, 429, 500 …
    pub status: Option<u16>,
    /// With `Retry-After`, in seconds.
    pub retry_after: Option<u32>,
    /// Requests are read and never answered.
    pub hang: bool,
    /// Resources that the client's role doesn't allow: `pods`, `pods/proxy`, `httproutes.gateway.networking.k8s.io`.
    pub forbidden: HashSet<String>,
    /// Those that it doesn't have, as an older one.
    pub absent: HashSet<String>,
    /// Between two events of a watch, and two objects of a list.
    pub slow: Option<Duration>,
    /// A watch breaks in the middle of a chunk after so many events.
    pub break_after: Option<usize>,
    /// The token that requests have to show.
    pub token: Option<String>,
    /// New connections are under TLS.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

#[derive(Debug, Default)]
struct State {
    store: Store,
    faults: Faults,
    /// Where pods are reached by the proxy: namespace and name.
    pods: HashMap<(String, String), SocketAddr>,
    /// To be shut when the server goes away.
    connections: Vec<TcpStream>,
    /// Paths with their queries, in the order in which they came.
    requests: Vec<String>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    stopping: AtomicBool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct ApiServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<std::thread::JoinHandle<()>>,
}

impl ApiServer {
    /// On a free port of the loopback address.
    pub fn start(objects: impl IntoIterator<Item = Value>) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        for object in objects {
            shared.state().store.put(object)?;
        }
        let mut server = Self { address: SocketAddr::from(([127, 0, 0, 1], 0)), shared, acceptor: None };
        server.resume()?;
        Ok(server)
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Creates or replaces an object.
    pub fn put(&self, object: Value) -> Result<()> {
        self.shared.state().store.put(object)?;
        self.shared.changed.notify_all();
        Ok(())
    }

    /// Lets the pod proxy reach a pod at an address, whatever port is asked for.
    pub fn proxy(&self, namespace: &str, pod: &str, to: SocketAddr) {
        self.shared.state().pods.insert((namespace.to_owned(), pod.to_owned()), to);
    }

    pub fn delete(&self, resource: &str, namespace: &str, name: &str) -> Result<()> {
        self.shared.state().store.delete(resource, namespace, name)?;
        self.shared.changed.notify_all();
        Ok(())
    }

    /// Changes what goes wrong from now on.
    pub fn set(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.shared.state().faults);
        self.shared.changed.notify_all();
    }

    /// Forgets the past: versions from before can't be watched from any more.
    pub fn compact(&self) {
        self.shared.state().store.compact();
    }

    /// Breaks every connection.
    pub fn disconnect(&self) {
        for connection in self.shared.state().connections.drain(..) {
            // It may have gone already.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// Goes away: connections break and new ones are refused, until it is resumed. The objects stay.
    pub fn stop(&mut self) {
        let Some(acceptor) = self.acceptor.take() else { return };
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the acceptor.
        let _ = TcpStream::connect(self.address);
        let _ = acceptor.join();
        self.shared.changed.notify_all();
        self.disconnect();
    }

    /// Comes back, at the same address.
    pub fn resume(&mut self) -> Result<()> {
        let listener = TcpListener::bind(self.address).context("cannot listen")?;
        self.address = listener.local_addr()?;
        self.shared.stopping.store(false, Ordering::SeqCst);
        let shared = Arc::clone(&self.shared);
        self.acceptor = Some(std::thread::spawn(move || accept(&listener, &shared)));
        Ok(())
    }

    /// What was asked so far.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.shared.state().requests.clone()
    }

    /// A kubeconfig that leads here.
    pub fn write_kubeconfig(&self, file: &Path) -> Result<()> {
        let user = match &self.shared.state().faults.token {
            Some(token) => json!({"token": token}),
            None => json!({}),
        };
        self.write_kubeconfig_as(file, &json!({}), &user)
    }

    /// With these members of the cluster and of the user.
    pub fn write_kubeconfig_as(&self, file: &Path, cluster: &Value, user: &Value) -> Result<()> {
        let mut cluster = cluster.clone();
        let scheme = if self.shared.state().faults.tls.is_some() { "https" } else { "http" };
        cluster["server"] = format!("{scheme}://{}", self.address).into();
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        std::fs::write(file, config.to_string()).with_context(|| file.display().to_string())
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for connection in listener.incoming() {
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(connection) = connection else { continue };
        let (Ok(copy), Ok(own)) = (connection.try_clone(), connection.try_clone()) else { continue };
        let tls = {
            let mut state = shared.state();
            state.connections.push(copy);
            state.faults.tls.clone()
        };
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            // The client went away or refuses our certificate, or the server was stopped.
            let _ = Stream::new(own, tls).and_then(|mut stream| serve::connection(&mut stream, &shared));
            let _ = connection.shutdown(Shutdown::Both);
        });
    }
}
