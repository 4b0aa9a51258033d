//! A node that is a container itself: its `/proc` numbers processes by a PID namespace of its own.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use tracer::event::Event;
use tracer::host::HostRoot;
use tracer::host::proc::Proc;
use tracer::kernel::Options;

use super::existing::Late;
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

/// Who made the failed connect to that address.
fn connector(late: &mut Late, net: &Net, target: SocketAddr) -> (u32, u32) {
    let by = |event: &Event| match event {
        Event::Connect(connect) if connect.remote == target => Some((connect.actor.tgid, connect.actor.tid)),
        _ => None,
    };
    late.told(net, "the connect", |told| told.iter().any(|event| by(event).is_some())).iter().find_map(by).unwrap()
}

#[test]
fn processes_are_told_by_the_nodes_numbers() {
    let net = Net::new();
    let [inside, outside] = [7411, 7412].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let mut node = Node::start(&net, inside);
    assert!(Proc::new(&node.root).nested_pid_namespace().is_some());
    assert_eq!(Proc::new(&HostRoot::default()).nested_pid_namespace(), None);
    let mut late = Late::with(&Options { host_root: node.root.clone(), ..Options::default() });

    node.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    assert_eq!(connector(&mut late, &net, inside), (1, 1));

    net.try_connect(outside, PATIENCE).unwrap_err();
    assert_eq!(connector(&mut late, &net, outside), (0, 0), "it isn't the node's");
}
