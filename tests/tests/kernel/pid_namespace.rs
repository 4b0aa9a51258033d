//! A node that is a container itself: its `/proc` numbers processes by a PID namespace of its own.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use tracer::event::decode::{self, NoNames};
use tracer::event::{Connect, Event};
use tracer::host::HostRoot;
use tracer::host::proc::Proc;
use tracer::kernel::{Kernel, Options, object};

use super::net::Net;
use super::observer::PATIENCE;

/// The first process of a PID namespace with a `/proc` of its own. It connects when it is told to.
struct Node {
    child: Child,
    root: HostRoot,
}

impl Node {
    fn start(net: &Net, target: SocketAddr) -> Self {
        let script = format!("echo; read; exec 3<>/dev/tcp/{}/{}", target.ip(), target.port());
        let mut unshare = Command::new("unshare");
        unshare.args(["--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", &script]);
        let mut child =
            net.run(|| unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let all = Proc::new(&HostRoot::default()).processes();
        let first = all.iter().find(|it| it.netns == net.inode && it.inner_pid == Some(1)).unwrap();
        let root = HostRoot::new(format!("/proc/{}/root", first.pid));
        Self { child, root }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn connect_to(kernel: &mut Kernel, target: SocketAddr) -> Connect {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut found = None;
        kernel.rings.drain(10_000, |_, bytes| match decode::decode(bytes, &mut NoNames).map(|record| record.event) {
            Ok(Event::Connect(connect)) if connect.remote == target => found = Some(connect),
            _ => {}
        });
        if let Some(connect) = found {
            return connect;
        }
        assert!(Instant::now() < deadline, "no event of {target}");
    }
}

#[test]
fn processes_are_told_by_the_nodes_numbers() {
    let net = Net::new();
    let [inside, outside] = [7411, 7412].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let mut node = Node::start(&net, inside);
    assert!(Proc::new(&node.root).nested_pid_namespace().is_some());
    assert_eq!(Proc::new(&HostRoot::default()).nested_pid_namespace(), None);
    let mut kernel =
        Kernel::start(object::OBJECT, &Options { host_root: node.root.clone(), ..Options::default() }).unwrap();

    node.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    let actor = connect_to(&mut kernel, inside).actor;
    assert_eq!((actor.tgid, actor.tid), (1, 1));

    net.try_connect(outside, PATIENCE).unwrap_err();
    let actor = connect_to(&mut kernel, outside).actor;
    assert_eq!((actor.tgid, actor.tid), (0, 0), "it isn't the node's");
}
