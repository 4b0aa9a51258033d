//! Every agent of a cluster, asked through the API server's pod proxy: no port needs to be reachable from here.

mod merge;

use std::time::Duration;

use axum::http::Request;
use futures::stream::{self, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, ListParams};
use serde::Serialize;
use serde_json::Value;

pub use merge::{Merged, merge};

use crate::verdict::Incident;

/// Agents asked at a time.
const AT_ONCE: usize = 16;

/// Which pods are agents, and how they are asked.
#[derive(Clone, Debug)]
pub struct Agents {
    pub namespace: Option<String>,
    pub selector: String,
    pub port: u16,
    pub timeout: Duration,
}

/// An agent's answer, or why there is none.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    pub node: String,
    /// `namespace/name`.
    pub pod: String,
    #[serde(skip)]
    pub answer: Result<Value, String>,
}

impl Agents {
    /// Asks every agent for a path such as `/v1/status`.
    ///
    /// # Errors
    /// Where the API server doesn't list the pods. An agent that doesn't answer is an [`Answer`].
    pub async fn ask(&self, client: &Client, path: &str) -> anyhow::Result<Vec<Answer>> {
        let pods: Api<Pod> = match &self.namespace {
            Some(namespace) => Api::namespaced(client.clone(), namespace),
            None => Api::all(client.clone()),
        };
        let labels = ListParams::default().labels(&self.selector);
        let late = || anyhow::anyhow!("the API server didn't list the pods within {} s", self.timeout.as_secs_f64());
        let found = tokio::time::timeout(self.timeout, pods.list(&labels)).await.map_err(|_elapsed| late())?;
        let found = found.map_err(|error| anyhow::anyhow!(reason(error, "list pods", self.namespace.as_deref())))?;
        let asked = found.items.into_iter().map(|pod| self.one(client, pod, path));
        let mut answers: Vec<_> = stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
        answers.sort_by(|a: &Answer, b: &Answer| (&a.node, &a.pod).cmp(&(&b.node, &b.pod)));
        Ok(answers)
    }

    async fn one(&self, client: &Client, pod: Pod, path: &str) -> Answer {
        let (namespace, name) = (pod.metadata.namespace.unwrap_or_default(), pod.metadata.name.unwrap_or_default());
        let node = pod.spec.and_then(|spec| spec.node_name).unwrap_or_default();
        let phase = pod.status.and_then(|status| status.phase).unwrap_or_default();
        let answer = if phase == "Running" {
            let uri = format!("/api/v1/namespaces/{namespace}/pods/{name}:{}/proxy{path}", self.port);
            match tokio::time::timeout(self.timeout, get(client, &uri)).await {
                Ok(answer) => answer.map_err(|error| reason(error, "get pods/proxy", Some(&namespace))),
                Err(_elapsed) => Err(format!("no answer within {} s", self.timeout.as_secs_f64())),
            }
        } else {
            Err(format!("the pod is {phase}"))
        };
        Answer { node, pod: format!("{namespace}/{name}"), answer }
    }
}

async fn get(client: &Client, uri: &str) -> Result<Value, kube::Error> {
    let request = Request::get(uri).body(Vec::new()).map_err(kube::Error::HttpError)?;
    client.request::<Value>(request).await
}

/// Why the API server gives no answer; where a permission is missing, which.
fn reason(error: kube::Error, permission: &str, namespace: Option<&str>) -> String {
    match error {
        kube::Error::Api(status) if status.code == 403 => {
            let place = namespace.map_or("all namespaces".to_owned(), |namespace| format!("namespace {namespace}"));
            format!("your role doesn't allow to {permission} in {place} ({})", status.message)
        }
        kube::Error::Api(status) => format!("{} {}", status.code, status.message),
        error => error.to_string(),
    }
}

/// The incidents of answers to `/v1/incidents`, with the node of each.
pub fn incidents(answers: &[Answer]) -> Vec<(String, Incident)> {
    let of = |answer: &Answer| -> Vec<(String, Incident)> {
        let Ok(list) = &answer.answer else { return Vec::new() };
        let incidents = list["incidents"].as_array().into_iter().flatten();
        // What another version writes and this one can't read is left out, like an agent that doesn't answer.
        incidents
            .filter_map(|incident| serde_json::from_value(incident.clone()).ok())
            .map(|incident| (answer.node.clone(), incident))
            .collect()
    };
    answers.iter().flat_map(of).collect()
}
