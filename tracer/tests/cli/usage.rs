//! Arguments, exit codes, what goes where. Needs no privilege.

use std::process::Command;

use crate::support::{finished, lines, run, tracer, validate};
use serde_json::json;

#[test]
fn help_and_version() {
    let (code, out, _) = run(&["--help"]);
    assert_eq!(code, 0);
    for word in ["capture", "explain", "policy", "doctor", "Exit codes"] {
        assert!(out.contains(word), "{word}: {out}");
    }
    assert!(!out.contains("schema"), "hidden: {out}");
    let (code, out, _) = run(&["capture", "--help"]);
    assert_eq!(code, 0);
    for flag in [
        "--duration",
        "--namespace",
        "--pod",
        "--service",
        "--min-status",
        "--all-requests",
        "--kube ",
        "--kube-dump",
        "--cgroup",
        "--output",
        "--write",
        "--fail-on-incident",
        "--events",
        "--node-name",
        "--host-root",
    ] {
        assert!(out.contains(flag), "{flag}: {out}");
    }
    assert_eq!(run(&["--version"]).0, 0);
}

#[test]
fn usage_errors() {
    for (args, expected) in [
        (&["capture", "--duration", "soon"][..], "30s"),
        (&["capture", "--duration", "0s"], "30s"),
        (&["capture", "--pod", "cart"], "NAMESPACE/NAME"),
        (&["capture", "--min-status", "700"], "599"),
        (&["capture", "-o", "html"], "text, json"),
        (&["capture", "--kube", "/nonexistent/kubeconfig"], "/nonexistent/kubeconfig"),
        // Off is the live cluster; a dump may take its place.
        (&["capture", "--kube", "off", "--kube-dump", "x.yaml"], "x.yaml"),
        (&["capture", "--kube-dump", "/nonexistent/dump.yaml"], "/nonexistent/dump.yaml"),
        (&["explain"], "FILE"),
        (&["trace"], "trace"),
        (&[], "Usage"),
    ] {
        let (code, out, err) = run(args);
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {err}");
        assert!(err.contains(expected), "{args:?}: {err}");
    }
}

#[test]
fn a_broken_dump_names_file_document_and_field() {
    let directory = tempfile::tempdir().unwrap();
    let dump = directory.path().join("cluster.yaml");
    std::fs::write(
        &dump,
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {name: cart, namespace: shop}\nspec: {ports: 80}\n",
    )
    .unwrap();
    for command in [&["capture", "--duration", "1s"][..], &["explain", "capture.ndjson"]] {
        let (code, out, err) = run(&[command, &["--kube-dump", dump.to_str().unwrap()]].concat());
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        for part in ["cluster.yaml", "document 2", "spec.ports"] {
            assert!(err.contains(part), "{part}: {err}");
        }
    }
}

#[test]
fn what_is_no_capture() {
    let directory = tempfile::tempdir().unwrap();
    let (code, _, err) = run(&["explain", "/nonexistent/capture.ndjson"]);
    assert_eq!(code, 2);
    assert!(err.contains("/nonexistent/capture.ndjson"), "{err}");
    for garbage in [&b""[..], b"\0\xff\n", b"{}\n", b"{\"format\":\"tracer-capture\",\"schema\":1}\n"] {
        let file = directory.path().join("garbage");
        std::fs::write(&file, garbage).unwrap();
        let (code, out, err) = run(&["explain", file.to_str().unwrap()]);
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert!(err.starts_with("error: ") && err.contains("garbage"), "{err}");
    }
}

#[test]
fn a_capture_is_explained() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("capture.ndjson");
    let options = json!({"min_status": 500, "wall_offset_ns": 0, "node": "n", "cgroup": null,
                         "selection": {"namespace": null, "pod": null, "service": null}, "notes": ["no icmp_send"]});
    let header = json!({"format": "tracer-capture", "schema": 1, "tool": "0", "wall_offset_ns": 0, "node": "n",
                        "kernel": "6.1", "options": options});
    let records = [
        json!({"at": 1_000_000_000_u64, "event": "tick"}),
        json!({"at": 2_000_000_000_u64, "event": "lost", "totals": [["events", 3]]}),
        json!({"at": 3_500_000_000_u64, "event": "tick"}),
    ];
    let text: Vec<String> = [&header, &json!({})].into_iter().chain(&records).map(ToString::to_string).collect();
    std::fs::write(&file, text.join("\n") + "\n").unwrap();

    let file = file.to_str().unwrap();
    let (code, out, err) = run(&["explain", file, "-o", "json", "--events", "--fail-on-incident"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let printed = lines(&out);
    validate(&printed);
    let types: Vec<_> = printed.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["event", "summary", "coverage"]);
    assert_eq!(printed[1]["duration_s"], 2.5);
    assert!(printed[1].get("requests").is_none(), "a capture file doesn't know: {out}");
    assert_eq!((&printed[2]["lost_events"], &printed[2]["lost"]), (&json!(3), &json!({"events": 3})));
    assert_eq!(printed[2]["notes"], json!(["no icmp_send"]));

    let (code, out, _) = run(&["explain", file]);
    assert_eq!(code, 0);
    assert!(out.contains("3 events lost (events 3)") && !out.contains('\u{1b}'), "{out}");
}

#[test]
fn doctor_in_json() {
    let (code, out, _) = run(&["doctor", "-o", "json"]);
    let printed = lines(&out);
    let last = printed.last().unwrap();
    assert_eq!(last["type"], "doctor");
    assert_eq!(code, if last["ok"] == true { 0 } else { 3 });
    assert!(printed.iter().any(|line| line["name"] == "CAP_BPF"));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let script = format!("'{}' doctor -o json | head -n 1; exit ${{PIPESTATUS[0]}}", env!("CARGO_BIN_EXE_tracer"));
    let (code, out, err) = finished(Command::new("bash").args(["-c", &script]).output().unwrap());
    assert!(code == 0 || code == 3, "{code}: {err}");
    assert_eq!((out.lines().count(), err.as_str()), (1, ""));
}

#[test]
fn without_capabilities_each_is_named() {
    let args = ["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"];
    // SAFETY: reads one number.
    let mut command = if unsafe { libc::geteuid() } == 0 {
        let mut setpriv = Command::new("setpriv");
        setpriv.args(args).arg(env!("CARGO_BIN_EXE_tracer")).args(["capture", "--duration", "1s"]);
        setpriv
    } else {
        tracer(&["capture", "--duration", "1s"])
    };
    let (code, out, err) = finished(command.output().unwrap());
    assert_eq!((code, out.as_str()), (3, ""), "{err}");
    for part in ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN", "setcap", "tracer doctor"] {
        assert!(err.contains(part), "{part}: {err}");
    }
}
