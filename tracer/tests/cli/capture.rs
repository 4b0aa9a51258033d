//! `tracer capture` on the running kernel: needs root.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::support::{finished, lines, run, tracer, validate};
use serde_json::Value;

/// A running capture that has said that it is ready.
fn start(args: &[&str]) -> (Child, BufReader<ChildStdout>, Value) {
    let mut command = tracer(&[&["capture", "-o", "json"], args].concat());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    if line.is_empty() {
        panic!("not ready: {:?}", finished(child.wait_with_output().unwrap()));
    }
    (child, out, serde_json::from_str(&line).unwrap())
}

fn rest(mut out: BufReader<ChildStdout>) -> Vec<Value> {
    let mut text = String::new();
    out.read_to_string(&mut text).unwrap();
    lines(&text)
}

fn signal(child: &Child, number: i32) {
    // SAFETY: a child of this process that wasn't waited for, so its id is still its own.
    unsafe { libc::kill(child.id() as i32, number) };
}

/// One request to a server of its own, answered with this status.
fn exchange(status: &str) {
    assert!(Command::new("python3").args(["-c", &script_of(status)]).status().unwrap().success());
}

fn script_of(status: &str) -> String {
    format!(
        "import socket,threading\n\
         s=socket.create_server(('127.0.0.1',0))\n\
         def serve():\n c,_=s.accept()\n c.recv(4096)\n c.sendall(b'HTTP/1.1 {status}\\r\\nContent-Length: 2\\r\\n\\r\\nno')\n c.close()\n\
         t=threading.Thread(target=serve);t.start()\n\
         c=socket.create_connection(s.getsockname())\n\
         c.sendall(b'GET /checkout?token=secret HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n')\n\
         while c.recv(4096): pass\n\
         t.join()\n"
    )
}

#[test]
#[ignore = "needs root"]
fn ready_then_summary_then_coverage() {
    let (code, out, err) = run(&["capture", "--duration", "1s", "-o", "json", "--node-name", "n1"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let printed = lines(&out);
    validate(&printed);
    let types: Vec<_> = printed.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(types.first(), Some(&"ready"));
    assert_eq!(types[types.len() - 2..], ["summary", "coverage"]);
    assert_eq!(printed[0]["node"], "n1");
    assert!(printed[0]["hooks"].as_array().unwrap().len() > 5);
    assert!(printed[printed.len() - 2]["duration_s"].as_f64().unwrap() >= 1.0);
}

#[test]
#[ignore = "needs root"]
fn a_replay_says_what_the_capture_said() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("capture.ndjson");
    let file = file.to_str().unwrap();
    let (child, out, _) = start(&["--write", file, "--events"]);
    exchange("200 OK");
    exchange("503 Service Unavailable");
    std::thread::sleep(Duration::from_millis(700));
    signal(&child, libc::SIGTERM);
    let printed = rest(out);
    let (code, _, err) = finished(child.wait_with_output().unwrap());
    assert_eq!((code, err.as_str()), (0, ""));
    validate(&printed);
    let summary = printed.iter().find(|line| line["type"] == "summary").unwrap();
    assert!(summary["requests"].as_u64().unwrap() >= 2 && summary["failures"].as_u64().unwrap() >= 1, "{summary}");
    assert!(!printed.iter().any(|line| line.to_string().contains("secret")), "query strings are not kept");

    let (code, out, err) = run(&["explain", file, "-o", "json", "--events"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let replayed = lines(&out);
    validate(&replayed);
    let told = |lines: &[Value]| -> Vec<String> {
        let is_told = |line: &&Value| line["type"] == "event" || line["type"] == "incident";
        lines.iter().filter(is_told).map(ToString::to_string).collect()
    };
    assert_eq!(told(&replayed), told(&printed));
    assert!(told(&printed).iter().any(|line| line.contains("\"status\":503")));
}

#[test]
#[ignore = "needs root"]
fn nothing_stays_attached_after_a_kill() {
    let (mut child, _out, _) = start(&[]);
    let programs = programs_of(child.id());
    assert!(programs.len() > 5, "{programs:?}");
    signal(&child, libc::SIGKILL);
    child.wait().unwrap();
    // The kernel frees programs after a grace period.
    let mut left = BTreeSet::new();
    for _ in 0..50 {
        left = libbpf_rs::query::ProgInfoIter::default()
            .map(|program| program.id)
            .filter(|id| programs.contains(id))
            .collect();
        if left.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(left, BTreeSet::new());
    assert_eq!(run(&["capture", "--duration", "100ms", "-o", "json"]).0, 0);
}

/// Ids of the kernel programs that a process holds.
fn programs_of(pid: u32) -> BTreeSet<u32> {
    let infos = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap().flatten();
    let texts = infos.filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
    texts
        .flat_map(|text| {
            let ids = text.lines().filter_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok());
            ids.collect::<Vec<u32>>()
        })
        .collect()
}

#[test]
#[ignore = "needs root"]
fn a_reader_that_goes_away_ends_it_quietly() {
    let (child, out, _) = start(&[]);
    drop(out);
    let (code, _, err) = finished(child.wait_with_output().unwrap());
    assert_eq!((code, err.as_str()), (0, ""));
}

/// A cgroup of this test's own, removed when it is dropped.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(name: &str) -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2")).unwrap();
        let path =
            Path::new(mount.split(' ').nth(1).unwrap()).join(format!("tracer-test-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Runs an exchange inside.
    fn exchange(&self, status: &str) {
        let procs = self.0.join("cgroup.procs");
        let script = format!("echo $$ > '{}' && exec python3 -c \"$0\"", procs.display());
        assert!(Command::new("sh").args(["-c", &script, &script_of(status)]).status().unwrap().success());
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A process that just ended may still be in it.
        for _ in 0..20 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_subtree_is_all_that_is_seen() {
    let (inside, outside) = (Cgroup::new("inside"), Cgroup::new("outside"));
    let path = inside.0.to_str().unwrap();
    let (child, out, ready) = start(&["--cgroup", path, "--events"]);
    let named = ready["cgroup"].as_str().unwrap();
    assert!(path.ends_with(named), "{ready}");
    outside.exchange("502 Outside");
    inside.exchange("503 Inside");
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, libc::SIGINT);
    let printed = rest(out);
    assert_eq!(finished(child.wait_with_output().unwrap()).0, 0);
    validate(&printed);
    let exchanges: Vec<_> = printed.iter().filter(|line| line["event"] == "exchange").collect();
    assert!(!exchanges.is_empty() && exchanges.iter().all(|line| line["outcome"]["status"] == 503), "{exchanges:?}");
    let names: Vec<_> = printed.iter().filter(|line| line["event"] == "cgroup").collect();
    assert!(names.iter().all(|line| line["path"] == named), "{names:?}");
    let first = |kind: &str| printed.iter().position(|line| line["event"] == kind).unwrap();
    assert!(first("cgroup") < first("exchange"), "a cgroup is named before it is used");
    assert_eq!(printed.iter().find(|line| line["type"] == "summary").unwrap()["requests"], 1);
}

#[test]
#[ignore = "needs root"]
fn a_cgroup_that_is_none() {
    let (code, out, err) = run(&["capture", "--cgroup", "/no/such/cgroup", "--duration", "1s"]);
    assert_eq!((code, out.as_str()), (3, ""));
    assert!(err.contains("/no/such/cgroup"), "{err}");
}
