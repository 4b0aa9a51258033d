//! `cargo xtask manifests`: the chart is the source, and what kustomize takes is rendered from it; so the two say the
//! same. [`check`] asks the real programs whether they do.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::tools::tool;
use crate::cargo;

const CHART: &str = "deploy/helm/tracer";
const NAMESPACE: &str = "tracer";
/// Newest API that the rendered manifests use: the AppArmor field, from 1.30 on.
const KUBERNETES: &str = "1.30";

/// Parts that are off by default: directory, value that turns it on, template.
const COMPONENTS: &[(&str, &str, &str)] = &[
    ("network-policy", "networkPolicy", "networkpolicy"),
    ("openshift", "openshift", "openshift"),
    ("pod-monitor", "podMonitor", "podmonitor"),
    ("prometheus-rule", "prometheusRule", "prometheusrule"),
    ("service-monitor", "serviceMonitor", "servicemonitor"),
];

const NOTE: &str = "# Generated from deploy/helm/tracer: `cargo xtask manifests`.\n";

/// Writes what is generated.
pub(crate) fn write() -> Result<()> {
    put("base/tracer.yaml", &(NOTE.to_owned() + &clean(&base()?)))?;
    for (directory, value, template) in COMPONENTS {
        let file = format!("{template}.yaml");
        let shown =
            clean(&render(&["--set", &format!("{value}.enabled=true"), "--show-only", &format!("templates/{file}")])?);
        put(&format!("components/{directory}/{file}"), &(NOTE.to_owned() + &shown))?;
        let list =
            format!("{NOTE}apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: [{file}]\n");
        put(&format!("components/{directory}/kustomization.yaml"), &list)?;
    }
    Ok(())
}

/// The chart is well-formed, and `helm` and `kubectl` render the same objects from what is in the repository.
pub(crate) fn check() -> Result<()> {
    cargo::run(tool("helm")?.args(["lint", "--strict", "--quiet", CHART]))?;
    compare("base", &base()?, "deploy/kustomize/base")?;
    let values = COMPONENTS.iter().map(|(_, value, _)| *value).chain(["dashboards"]);
    let everything: Vec<String> = values.map(|value| format!("{value}.enabled=true")).collect();
    let all = render(&["--set", "namespace.create=true", "--set", &everything.join(",")])?;
    compare("every component", &all, "deploy/kustomize/everything")?;
    check_privileged()?;
    check_app_armor()
}

/// An API server rejects what is privileged and may not escalate; no schema says so.
fn check_privileged() -> Result<()> {
    let objects = objects(&render(&["--set", "securityContext.privileged=true"])?)?;
    let security = objects["DaemonSet/tracer"].pointer("/spec/template/spec/containers/0/securityContext");
    if !security.is_some_and(|it| it["privileged"] == true && it["allowPrivilegeEscalation"] == true) {
        bail!("securityContext.privileged: no API server accepts {security:?}");
    }
    Ok(())
}

/// Before 1.30 an annotation has the profile, by names of its own.
fn check_app_armor() -> Result<()> {
    for (profile, name) in [("Unconfined", "unconfined"), ("RuntimeDefault", "runtime/default")] {
        let values = format!("appArmorProfile={profile}");
        // The last of several versions counts.
        let objects = objects(&render(&["--kube-version", "1.29", "--set", &values])?)?;
        let annotations = &objects["DaemonSet/tracer"]["spec"]["template"]["metadata"]["annotations"];
        let told = &annotations["container.apparmor.security.beta.kubernetes.io/tracer"];
        if told != name {
            bail!("{values}: Kubernetes 1.29 doesn't know {told}");
        }
    }
    Ok(())
}

fn compare(what: &str, by_helm: &str, directory: &str) -> Result<()> {
    let by_kubectl = cargo::output(tool("kubectl")?.args(["kustomize", directory]))?;
    let (helm, kustomize) = (objects(by_helm)?, objects(&by_kubectl)?);
    let names = helm.keys().chain(kustomize.keys());
    let different: Vec<_> = names.filter(|name| helm.get(*name) != kustomize.get(*name)).map(String::as_str).collect();
    if !different.is_empty() {
        bail!("{what}: helm and kustomize disagree on {}: `cargo xtask manifests`", different.join(", "));
    }
    eprintln!("{what}: helm and kustomize render the same {} objects", helm.len());
    Ok(())
}

/// What an installation has, as objects.
pub(super) fn base_objects() -> Result<Vec<Value>> {
    Ok(objects(&base()?)?.into_values().collect())
}

fn base() -> Result<String> {
    render(&["--set", "namespace.create=true"])
}

fn render(more: &[&str]) -> Result<String> {
    let mut helm = tool("helm")?;
    helm.args(["template", "tracer", CHART, "--namespace", NAMESPACE, "--kube-version", KUBERNETES]).args(more);
    cargo::output(&mut helm)
}

/// Without what is helm's alone.
fn clean(rendered: &str) -> String {
    const OF_HELM: &[&str] = &["# Source: ", "helm.sh/chart: ", "app.kubernetes.io/managed-by: "];
    let lines = rendered.lines().filter(|line| !OF_HELM.iter().any(|start| line.trim_start().starts_with(start)));
    lines.map(|line| line.trim_end().to_owned() + "\n").collect()
}

fn put(path: &str, text: &str) -> Result<()> {
    let path = cargo::root().join("deploy/kustomize").join(path);
    let directory = path.parent().map(PathBuf::from).unwrap_or_default();
    fs::create_dir_all(&directory)?;
    fs::write(&path, text).with_context(|| path.display().to_string())
}

/// Objects by kind and name.
fn objects(yaml: &str) -> Result<BTreeMap<String, Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(&clean(yaml)).context("what was rendered is no YAML")?;
    let mut objects = BTreeMap::new();
    for object in documents.into_iter().filter(|object| !object.is_null()) {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let name = format!("{}/{}", text("/kind"), text("/metadata/name"));
        if objects.insert(name.clone(), object).is_some() {
            bail!("{name} is rendered twice");
        }
    }
    Ok(objects)
}
