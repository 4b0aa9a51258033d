//! `tracer capture` on the running kernel: needs root. `cargo test -p tracer --test cli_capture -- --ignored`
#![cfg(feature = "kernel")]

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::{finished, lines, run, tracer, validate};

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
    let script = format!(
        "import socket,threading\n\
         s=socket.create_server(('127.0.0.1',0))\n\
         def serve():\n c,_=s.accept()\n c.recv(4096)\n c.sendall(b'HTTP/1.1 {status}\\r\\nContent-Length: 2\\r\\n\\r\\nno')\n c.close()\n\
         t=threading.Thread(target=serve);t.start()\n\
         c=socket.create_connection(s.getsockname())\n\
         c.sendall(b'GET /checkout?token=secret HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n')\n\
         while c.recv(4096): pass\n\
         t.join()\n"
    );
    assert!(Command::new("python3").args(["-c", &script]).status().unwrap().success());
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
        left = libbpf_rs::query::ProgInfoIter::default().map(|program| program.id).filter(|id| programs.contains(id)).collect();
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

#[test]
#[ignore = "needs root"]
fn a_subtree_is_all_that_is_seen() {
    let (child, out, ready) = start(&["--cgroup", "/", "--events"]);
    assert!(ready.get("cgroup").is_none(), "the root is the whole node");
    signal(&child, libc::SIGINT);
    assert_eq!(rest(out).last().unwrap()["type"], "coverage");
    assert_eq!(finished(child.wait_with_output().unwrap()).0, 0);
    let (code, out, err) = run(&["capture", "--cgroup", "/no/such/cgroup", "--duration", "1s"]);
    assert_eq!((code, out.as_str()), (3, ""));
    assert!(err.contains("/no/such/cgroup"), "{err}");
}
