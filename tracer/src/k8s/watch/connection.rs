//! Where the API server is, and a client for it.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::time::Instant;

use super::proxy::is_exempt;

use crate::reasons::chain;

/// Given to every pod that has a service account.
const SERVICE_HOST: &str = "KUBERNETES_SERVICE_HOST";
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
const CONNECT: Duration = Duration::from_secs(5);
/// A client is not made anew more often than this, however many kinds are refused.
const RENEW: Duration = Duration::from_secs(5);

/// Who says where the API server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Kubeconfig(PathBuf),
    /// `$KUBECONFIG`.
    Environment,
    /// The service account of the pod that we run in.
    InCluster,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("cannot use the kubeconfig {origin}: {message}")]
    Kubeconfig { origin: String, message: String },
    #[error("cannot use this pod's service account: {message}")]
    InCluster { message: String },
}

impl Source {
    /// What there is without being asked for. Not the user's own `~/.kube/config`: it may be of any cluster, and the
    /// addresses of another cluster's pods would be taken for ours.
    pub fn detect() -> Option<Self> {
        if std::env::var_os("KUBECONFIG").is_some_and(|paths| !paths.is_empty()) {
            return Some(Self::Environment);
        }
        (std::env::var_os(SERVICE_HOST).is_some() && Path::new(TOKEN).exists()).then_some(Self::InCluster)
    }

    async fn config(&self) -> Result<Config, ConnectError> {
        let failed = |message: String| match self {
            Self::Kubeconfig(path) => ConnectError::Kubeconfig { origin: format!("`{}`", path.display()), message },
            Self::Environment => ConnectError::Kubeconfig { origin: "of $KUBECONFIG".to_owned(), message },
            Self::InCluster => ConnectError::InCluster { message },
        };
        let kubeconfig = match self {
            Self::Kubeconfig(path) => Some(Kubeconfig::read_from(path).map_err(|error| failed(chain(&error)))?),
            Self::Environment => Kubeconfig::from_env().map_err(|error| failed(chain(&error)))?,
            Self::InCluster => None,
        };
        let named = kubeconfig.as_ref().is_some_and(names_a_proxy);
        let mut config = match kubeconfig {
            Some(kubeconfig) => Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                .await
                .map_err(|error| failed(chain(&error)))?,
            None => Config::incluster().map_err(|error| failed(chain(&error)))?,
        };
        if !named && !is_behind_a_proxy(&config) {
            config.proxy_url = None;
        }
        config.connect_timeout = Some(CONNECT);
        // We wait between tries ourselves, and longer.
        config.default_retry = false;
        Ok(config)
    }

    /// A client for it.
    ///
    /// # Errors
    /// Where what says where it is can't be read.
    pub async fn client(&self) -> Result<Client, ConnectError> {
        let config = self.config().await?;
        Client::try_from(config).map_err(|error| match self {
            Self::InCluster => ConnectError::InCluster { message: chain(&error) },
            _ => ConnectError::Kubeconfig { origin: "given".to_owned(), message: chain(&error) },
        })
    }
}

fn names_a_proxy(kubeconfig: &Kubeconfig) -> bool {
    let mut clusters = kubeconfig.clusters.iter().filter_map(|named| named.cluster.as_ref());
    clusters.any(|cluster| cluster.proxy_url.as_ref().is_some_and(|url| !url.is_empty()))
}

/// Whether `HTTPS_PROXY` is meant for this server.
fn is_behind_a_proxy(config: &Config) -> bool {
    let not = ["NO_PROXY", "no_proxy"].into_iter().find_map(|name| std::env::var(name).ok());
    let server = &config.cluster_url;
    server.scheme_str() == Some("https")
        && !is_exempt(&not.unwrap_or_default(), server.host().unwrap_or_default(), server.port_u16().unwrap_or(443))
}

/// A client, made anew when what it shows is refused: certificates and tokens in a kubeconfig are replaced while we run.
/// A service account's token is read anew by the client itself.
pub(super) struct Connection {
    source: Source,
    current: Mutex<(Client, Instant)>,
}

impl Connection {
    pub(super) async fn open(source: Source) -> Result<Self, ConnectError> {
        let client = source.client().await?;
        Ok(Self { source, current: Mutex::new((client, Instant::now())) })
    }

    pub(super) fn client(&self) -> Client {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    pub(super) async fn renew(&self) {
        if self.current.lock().unwrap_or_else(PoisonError::into_inner).1.elapsed() < RENEW {
            return;
        }
        // With the same lock released: another kind may do the same at the same time, which does no harm.
        match self.source.client().await {
            Ok(client) => {
                *self.current.lock().unwrap_or_else(PoisonError::into_inner) = (client, Instant::now());
            }
            Err(error) => tracing::warn!("{error}; going on with the credentials read before"),
        }
    }
}
