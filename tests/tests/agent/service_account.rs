//! Inside a cluster: nothing is configured, the pod's service account leads to the API server.

use std::process::Command;

use serde_json::json;
use tracer_tests::apiserver::{ApiServer, Authority};

/// Puts a service account where the kubelet mounts it, seen by what is run here only.
const MOUNTED: &str = r#"
set -e
mount -t tmpfs tmpfs /run
mkdir -p /var/run/secrets/kubernetes.io/serviceaccount
cp "$1"/* /var/run/secrets/kubernetes.io/serviceaccount
shift
exec "$@"
"#;

#[test]
fn leads_to_the_cluster() {
    let pod = |name: &str, address: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": "shop", "name": name, "uid": name, "labels": {"app": name}},
            "spec": {"nodeName": "n1", "containers": [{"name": "c"}]}, "status": {"phase": "Running", "podIP": address},
        })
    };
    let policy = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"namespace": "shop", "name": "redis-isolated", "uid": "policy"},
        "spec": {"podSelector": {"matchLabels": {"app": "redis"}}, "policyTypes": ["Ingress"]},
    });
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    let server = ApiServer::start([namespace, pod("cart", "10.1.0.1"), pod("redis", "10.1.0.2"), policy]).unwrap();
    let authority = Authority::new().unwrap();
    server.set(|faults| {
        faults.tls = Some(authority.server(false).unwrap());
        faults.token = Some("issued".to_owned());
    });
    let check = |token: &str| {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in [("ca.crt", authority.certificate().as_str()), ("token", token), ("namespace", "tracer")] {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let output = Command::new("unshare")
            .args(["--mount", "sh", "-c", MOUNTED, "sh"])
            .arg(directory.path())
            .arg(std::env::var_os("TRACER_BIN").expect("TRACER_BIN doesn't name the tracer binary"))
            .args(["policy", "check", "--from", "shop/cart", "--to", "shop/redis:6379"])
            .env("KUBERNETES_SERVICE_HOST", server.address().ip().to_string())
            .env("KUBERNETES_SERVICE_PORT", server.address().port().to_string())
            .env_remove("KUBECONFIG")
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    let said = check("issued");
    assert!(said.contains("redis-isolated"), "{said}");
    let said = check("of somebody else");
    assert!(!said.contains("redis-isolated") && said.contains("401"), "{said}");
}
