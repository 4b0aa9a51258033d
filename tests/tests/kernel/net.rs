//! Network namespaces of the tests' own, and traffic in them. A namespace lives as long as its descriptors, and they as
//! long as the process: nothing is left behind however a test ends.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tracer::event::{Connect, Drop as Dropped, Event, Exchange, Outcome, Role, Signal, SignalKind};

use super::observer::{PATIENCE, Seen, netns, observer};

/// Whether this kernel says why it drops a packet.
pub(crate) fn gives_reasons() -> bool {
    observer().features().arguments("kfree_skb") >= 3
}

/// Whether packets that ended their use are drops in this kernel, too: without a reason before 5.17, and with none that says
/// anything for as long as the receiving socket wasn't told either.
pub(crate) fn drops_are_vague() -> bool {
    observer().features().arguments("kfree_skb") < 4
}

/// A drop that says neither why nor where, but perhaps that a socket was emptied at its end.
pub(crate) fn is_vague(event: &Event) -> bool {
    let Event::Drop(it) = event else { return false };
    it.mechanism.as_deref().is_none_or(|place| place == "socket")
        && it.reason.as_deref().is_none_or(|reason| reason == "NOT_SPECIFIED")
}

/// Whether this kernel tells of the ICMP errors that it sends.
pub(crate) fn tells_icmp() -> bool {
    observer().features().arguments("icmp_send") > 0
}

pub(crate) struct Net {
    file: File,
    pub(crate) inode: u32,
}

/// Both ends of one connection.
pub(crate) struct Pair {
    pub(crate) client: TcpStream,
    pub(crate) server: TcpStream,
    pub(crate) port: u16,
}

impl Net {
    /// A namespace with a loopback device that is up, and nothing else. The programs run before it exists.
    pub(crate) fn new() -> Self {
        observer();
        let file = std::thread::spawn(|| {
            // SAFETY: moves this thread only, and it ends here.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "a network namespace needs root");
            File::open("/proc/thread-self/ns/net").unwrap()
        })
        .join()
        .unwrap();
        let inode = file.metadata().unwrap().ino() as u32;
        // Numbers of namespaces are reused at once: each lives as long as the process, so that a number is one test's.
        std::mem::forget(file.try_clone().unwrap());
        let net = Self { file, inode };
        net.sh("ip link set lo up");
        net
    }

    /// Runs something in a thread inside the namespace; sockets made there stay there.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    // SAFETY: a valid descriptor of a namespace; moves this thread only.
                    assert_eq!(unsafe { libc::setns(self.file.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
                    work()
                })
                .join()
                .unwrap()
        })
    }

    /// Runs a command line inside the namespace.
    pub(crate) fn sh(&self, line: &str) {
        let done = self.run(|| Command::new("sh").args(["-c", line]).output().unwrap());
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// Adds a chain of nftables at a hook with these rules.
    pub(crate) fn nft(&self, hook: &str, rules: &[&str]) {
        let rules = rules.join("; ");
        self.sh(&format!(
            "nft 'table inet t_{hook} {{ chain c {{ type filter hook {hook} priority 0; policy accept; {rules}; }}; }}'"
        ));
    }

    /// A path by which `ip link … netns PATH` finds it.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    pub(crate) fn listen(&self, address: &str) -> TcpListener {
        self.run(|| TcpListener::bind((address, 0)).unwrap())
    }

    pub(crate) fn udp(&self, address: &str, port: u16) -> UdpSocket {
        let socket = self.run(|| UdpSocket::bind((address, port)).unwrap());
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    /// A connection to a listener of this or of another namespace.
    pub(crate) fn connect(&self, listener: &TcpListener) -> Pair {
        let address = listener.local_addr().unwrap();
        let client = self.run(|| TcpStream::connect(address).unwrap());
        let (server, _) = listener.accept().unwrap();
        for stream in [&client, &server] {
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.set_write_timeout(Some(PATIENCE)).unwrap();
        }
        Pair { client, server, port: address.port() }
    }

    pub(crate) fn pair(&self) -> Pair {
        self.connect(&self.listen("127.0.0.1"))
    }

    /// A connect that gives up after a while, by its error.
    pub(crate) fn try_connect(&self, address: SocketAddr, timeout: Duration) -> std::io::Result<TcpStream> {
        self.run(|| TcpStream::connect_timeout(&address, timeout))
    }

    /// A socket that connects in the background; closing it gives the connect up.
    pub(crate) fn begin_connect(&self, address: SocketAddr) -> File {
        let SocketAddr::V4(v4) = address else { panic!("IPv4 only") };
        self.run(|| {
            let name = libc::sockaddr_in {
                sin_family: libc::AF_INET as u16,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: plain calls with a valid address; the descriptor is owned by the file from then on.
            unsafe {
                let fd = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0);
                assert!(fd >= 0);
                let file = File::from_raw_fd(fd);
                libc::connect(fd, (&raw const name).cast(), size_of::<libc::sockaddr_in>() as u32);
                file
            }
        })
    }

    /// Everything told about this namespace so far, but what fences caused; complete for all that was caused before.
    pub(crate) fn events(&self) -> Vec<Seen> {
        static FENCES: AtomicU32 = AtomicU32::new(0);
        let path = format!("/fence-{}", FENCES.fetch_add(1, Ordering::Relaxed));
        let mut pair = self.pair();
        pair.request(format!("GET {path} HTTP/1.1\r\nHost: f\r\n\r\n").as_bytes());
        pair.respond(b"HTTP/1.1 599 Fence\r\nContent-Length: 0\r\n\r\n");
        std::mem::drop(pair);
        let fence = |event: &Event| matches!(event, Event::Exchange(it) if path_of(it) == path);
        observer().wait("the fence at both ends", |seen| {
            let ends = seen.iter().filter(|seen| seen.record.as_ref().is_ok_and(|it| fence(&it.event))).count();
            (ends == 2).then_some(())
        });
        // What was in the other ring by then.
        observer().ask(|_| ());
        observer().ask(|_| ());
        let vague = drops_are_vague();
        let used = |event: &Event| vague && is_vague(event);
        let ours = |event: &Event| netns(event) == self.inode && !used(event);
        let is_fence = |event: &Event| matches!(event, Event::Exchange(it) if path_of(it).starts_with("/fence-"));
        observer().all(|record| ours(&record.event) && !is_fence(&record.event))
    }

    /// Exchange events of this namespace.
    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        of(self.events(), |event| if let Event::Exchange(it) = event { Some(it) } else { None })
    }

    /// Waits for the first event of this namespace that the picker takes.
    pub(crate) fn wait<T>(&self, what: &str, pick: impl Fn(&Event) -> Option<T>) -> T {
        observer().wait(what, |seen| {
            let mut events = seen.iter().filter_map(|seen| seen.record.as_ref().ok()).map(|record| &record.event);
            events.find_map(|event| if netns(event) == self.inode { pick(event) } else { None })
        })
    }

    pub(crate) fn wait_connect(&self) -> Connect {
        self.wait("a failed connect", |event| if let Event::Connect(it) = event { Some(it.clone()) } else { None })
    }

    /// A drop by a rule: by its reason, or by its place only where the kernel gives none.
    pub(crate) fn wait_filtered(&self) -> Dropped {
        let reason = gives_reasons().then_some("NETFILTER_DROP");
        self.wait("a drop by a rule", |event| match event {
            Event::Drop(it) if it.reason.as_deref() == reason && it.hook.is_some() => Some(it.clone()),
            _ => None,
        })
    }

    pub(crate) fn wait_signal(&self, kind: SignalKind) -> Signal {
        self.wait(&format!("{kind:?}"), |event| match event {
            Event::Signal(it) if it.signal == kind => Some(it.clone()),
            _ => None,
        })
    }

    /// Paths and statuses of successful exchanges at one end.
    pub(crate) fn flights(&self, role: Role) -> Vec<(String, u16)> {
        let ours = |event: &Event| matches!(event, Event::Exchange(it) if it.netns == self.inode && it.role == role);
        let records = observer().flights(|record| ours(&record.event));
        records
            .into_iter()
            .filter_map(|record| match record.event {
                Event::Exchange(it) => Some((path_of(&it).to_owned(), it.status().unwrap())),
                _ => None,
            })
            .collect()
    }

    /// Asserts that exactly these failures were told, each at both ends, and these successes counted in the recorder.
    pub(crate) fn assert_http(&self, failures: &[(&str, Outcome)], successes: &[(&str, u16)]) {
        let exchanges = self.exchanges();
        for role in [Role::Client, Role::Server] {
            let told = exchanges.iter().filter(|it| it.role == role).map(|it| (path_of(it), it.outcome));
            assert_eq!(told.collect::<Vec<_>>(), failures, "failures at the {role:?}");
            let successes: Vec<_> = successes.iter().map(|(path, status)| ((*path).to_owned(), *status)).collect();
            assert_eq!(self.flights(role), successes, "successes at the {role:?}");
        }
    }
}

impl Pair {
    /// Sends to the server, and has it read: each call is a segment of its own.
    pub(crate) fn request(&mut self, bytes: &[u8]) {
        transfer(&mut self.client, &mut self.server, bytes);
    }

    /// Sends to the client, and has it read.
    pub(crate) fn respond(&mut self, bytes: &[u8]) {
        transfer(&mut self.server, &mut self.client, bytes);
    }
}

fn transfer(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    std::thread::scope(|scope| {
        // A large write waits for its reader.
        let writer = scope.spawn(|| from.write_all(bytes).unwrap());
        let mut read = vec![0; bytes.len()];
        to.read_exact(&mut read).unwrap();
        assert_eq!(read, bytes);
        writer.join().unwrap();
    });
}

pub(crate) fn path_of(exchange: &Exchange) -> &str {
    exchange.request.as_ref().map_or("", |request| &request.path)
}

pub(crate) fn of<T>(seen: Vec<Seen>, pick: impl Fn(Event) -> Option<T>) -> Vec<T> {
    seen.into_iter().filter_map(|seen| pick(seen.record.ok()?.event)).collect()
}

/// A whole request without a body.
pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes()
}

/// A whole response with a body of these bytes.
pub(crate) fn answer(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}
