//! Which cause a pod's state names.

use rstest::rstest;

use super::{describe::is_over, events_of, trouble};
use crate::k8s::{dump, snapshot::Snapshot};

const POD: &str = "{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: cart, uid: u1}, spec: {containers: [\
                   {name: app, readinessProbe: {httpGet: {path: /ready, port: 8080}}}], initContainers: [{name: init}]}, status: {";

/// The pod with that status, and an event about it of that reason and message.
fn cluster(status: &str, reason: &str, message: &str) -> Snapshot {
    let event = format!(
        "{{apiVersion: v1, kind: Event, metadata: {{namespace: shop, name: e}}, reason: {reason}, message: '{message}', \
         involvedObject: {{kind: Pod, namespace: shop, name: cart, uid: u1, fieldPath: 'spec.containers{{app}}'}}}}"
    );
    let yaml = format!("{POD}{status}}}}}\n---\n{event}\n");
    Snapshot::new(dump::parse("test", yaml.as_bytes()).unwrap().objects)
}

/// The cause and the container that the status names.
fn found(status: &str, reason: &str, message: &str) -> String {
    let snapshot = cluster(status, reason, message);
    let found = trouble(&snapshot, snapshot.pods().next().unwrap());
    found.map_or("-".to_owned(), |t| format!("{} {}", t.cause, t.container.unwrap_or_default()).trim_end().to_owned())
}

fn app(state: &str) -> String {
    format!("containerStatuses: [{{name: app, {state}}}]")
}

#[rstest]
#[case("CrashLoopBackOff", "", "crash-loop app")]
#[case("CreateContainerConfigError", "configmap \"x\" not found", "config-error app")]
#[case("CreateContainerError", "failed to generate spec: no command specified", "image-error app")]
#[case("CreateContainerError", "context deadline exceeded", "config-error app")]
#[case("RunContainerError", "error mounting \"/a\": not a directory", "config-error app")]
#[case("RunContainerError", "exec: \"run.sh\": executable file not found in $PATH", "image-error app")]
#[case("RunContainerError", "cannot allocate memory", "-")]
#[case("ErrImagePull", "", "image-error app")]
#[case("ImagePullBackOff", "", "image-error app")]
#[case("InvalidImageName", "", "image-error app")]
#[case("ErrImageNeverPull", "", "image-error app")]
#[case("ContainerCreating", "", "-")]
fn waiting(#[case] reason: &str, #[case] message: &str, #[case] expected: &str) {
    let status = app(&format!("state: {{waiting: {{reason: {reason}, message: '{message}'}}}}"));
    assert_eq!(found(&status, "Pulled", ""), expected);
}

#[rstest]
#[case("exitCode: 1, reason: Error", "BackOff", "", "crash-loop app")]
#[case("exitCode: 0, reason: Completed", "BackOff", "", "crash-loop app")]
#[case(
    "exitCode: 137, reason: OOMKilled",
    "Killing",
    "Container app failed liveness probe, will be restarted",
    "oom-killed app"
)]
#[case(
    "exitCode: 143, reason: Error",
    "Killing",
    "Container app failed liveness probe, will be restarted",
    "liveness-restart app"
)]
#[case(
    "exitCode: 139, reason: Error",
    "Killing",
    "Container app failed liveness probe, will be restarted",
    "crash-loop app"
)]
#[case(
    "exitCode: 137, reason: Error",
    "Killing",
    "Container app failed startup probe, will be restarted",
    "probe-failing app"
)]
#[case("exitCode: 137, reason: Error", "Killing", "Stopping container app", "crash-loop app")]
#[case(
    "exitCode: 128, reason: StartError, message: \"exec: \\\"/x\\\": no such file\"",
    "BackOff",
    "",
    "image-error app"
)]
#[case("exitCode: 128, reason: StartError, message: something else", "BackOff", "", "crash-loop app")]
fn crashing(#[case] last: &str, #[case] reason: &str, #[case] message: &str, #[case] expected: &str) {
    let waiting = format!("state: {{waiting: {{reason: CrashLoopBackOff}}}}, lastState: {{terminated: {{{last}}}}}");
    assert_eq!(found(&app(&waiting), reason, message), expected);
}

#[rstest]
#[case(
    "ready: false",
    "Unhealthy",
    "Readiness probe failed: HTTP probe failed with statuscode: 503",
    "probe-failing app"
)]
#[case("ready: true", "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503", "-")]
#[case("ready: false", "Unhealthy", "Liveness probe failed: timeout", "-")]
#[case(
    "ready: false, restartCount: 3, lastState: {terminated: {exitCode: 1}}",
    "BackOff",
    "Back-off restarting failed container app",
    "crash-loop app"
)]
#[case("ready: false, restartCount: 3, lastState: {terminated: {exitCode: 1}}", "Pulled", "", "-")]
fn running(#[case] fields: &str, #[case] reason: &str, #[case] message: &str, #[case] expected: &str) {
    assert_eq!(found(&app(&format!("state: {{running: {{}}}}, {fields}")), reason, message), expected);
}

#[rstest]
#[case("reason: Evicted, message: 'The node was low on resource: memory.'", "node-pressure")]
#[case("reason: Evicted, message: 'The node had condition: [DiskPressure].'", "node-pressure")]
#[case("reason: Evicted, message: 'Pod ephemeral local storage usage exceeds the total limit of containers 1Gi.'", "-")]
#[case(
    "conditions: [{type: PodScheduled, status: 'False', message: '0/2 nodes are available: 2 node(s) had untolerated taint {node.kubernetes.io/disk-pressure: }. preemption: 0/2'}]",
    "node-pressure"
)]
#[case(
    "conditions: [{type: PodScheduled, status: 'False', message: '0/2 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/disk-pressure: }, 1 Insufficient cpu.'}]",
    "-"
)]
fn of_the_node(#[case] status: &str, #[case] expected: &str) {
    assert_eq!(found(status, "Pulled", ""), expected);
}

#[test]
fn what_comes_first_is_blamed() {
    let waiting = app("state: {waiting: {reason: PodInitializing}}");
    let init = "initContainerStatuses: [{name: init, state: {waiting: {reason: CrashLoopBackOff}}}]";
    assert_eq!(found(&format!("{waiting}, {init}"), "Pulled", ""), "crash-loop init");
    let done = "initContainerStatuses: [{name: init, state: {terminated: {exitCode: 0, reason: Completed}}}]";
    assert_eq!(found(&format!("{}, {done}", app("ready: true, state: {running: {}}")), "Pulled", ""), "-");
    let mount = "MountVolume.SetUp failed for volume \"c\" : configmap \"cfg\" not found";
    assert_eq!(found(&app("state: {waiting: {reason: ContainerCreating}}"), "FailedMount", mount), "config-error app");
    // An event of an earlier pod of that name, or of another container.
    assert_eq!(found(&app("state: {waiting: {reason: ContainerCreating}}"), "FailedMount", "timed out"), "-");
}

#[rstest]
#[case("FailedMount", "running: {startedAt: '2026-01-01T00:00:00Z'}", true)]
#[case("FailedMount", "waiting: {reason: ContainerCreating}", false)]
#[case("Unhealthy", "running: {startedAt: '2026-01-01T00:00:00Z'}", false)]
fn what_kept_a_pod_from_starting(#[case] reason: &str, #[case] state: &str, #[case] over: bool) {
    let snapshot = cluster(&app(&format!("state: {{{state}}}")), reason, "");
    let pod = snapshot.pods().next().unwrap();
    assert_eq!(is_over(pod, events_of(&snapshot, pod)[0]), over);
}
