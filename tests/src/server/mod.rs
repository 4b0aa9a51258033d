//! The server processes of pods: how each is started and configured.

pub mod dns;
pub mod haproxy;
pub mod nginx;
pub mod tls;

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::{
    app::Routes,
    cluster::{Family, Plan},
    run::{app_binary, go_binary},
};

/// How the application meets its requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Model {
    #[default]
    ThreadPerRequest,
    ThreadPool,
    EventLoop,
}

impl Model {
    fn name(self) -> &'static str {
        match self {
            Self::ThreadPerRequest => "thread-per-request",
            Self::ThreadPool => "thread-pool",
            Self::EventLoop => "event-loop",
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Server {
    /// Nothing listens; clients run here.
    #[default]
    None,
    App {
        port: u16,
        #[serde(default)]
        model: Model,
        /// Close connections that idle for so long.
        #[serde(default)]
        keep_alive_ms: Option<u64>,
        #[serde(default)]
        routes: Routes,
        /// All descriptors but so many are used up from the start.
        #[serde(default)]
        spare_descriptors: Option<usize>,
        /// Of the listening socket.
        #[serde(default)]
        backlog: Option<i32>,
    },
    /// The same in Go, as far as [calls, delays and statuses](crate::app::Route) go.
    Go {
        port: u16,
        #[serde(default)]
        routes: Routes,
    },
    Redis {
        port: u16,
    },
    /// Listens, but accepts nothing; its accept queue is full unless there shall be room.
    Stuck {
        port: u16,
        #[serde(default)]
        room: bool,
    },
    Nginx(nginx::Nginx),
    Haproxy(haproxy::Haproxy),
    /// DNS; the cluster's is there without being asked, others know the same names and forward nothing.
    Dns,
}

impl Server {
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::None => None,
            Self::App { port, .. } | Self::Go { port, .. } | Self::Redis { port } | Self::Stuck { port, .. } => {
                Some(*port)
            }
            Self::Nginx(nginx) => Some(nginx.port),
            Self::Haproxy(haproxy) => Some(haproxy.port),
            Self::Dns => Some(53),
        }
    }

    #[must_use]
    pub fn container(&self) -> &'static str {
        match self {
            Self::None => "client",
            Self::App { .. } | Self::Go { .. } => "app",
            Self::Redis { .. } => "redis",
            Self::Stuck { .. } => "app",
            Self::Nginx(_) => "nginx",
            Self::Haproxy(_) => "haproxy",
            Self::Dns => "coredns",
        }
    }

    /// Writes the configuration into `directory` and returns the command line.
    pub fn command(&self, directory: &Path, plan: &Plan) -> Result<Option<Vec<String>>> {
        let any = if plan.family == Family::V6 { "[::]" } else { "0.0.0.0" };
        let app = app_binary()?.display().to_string();
        let above = directory.parent().context("a pod's directory lies in the cluster's")?;
        let authority = tls::authority_file(above).display().to_string();
        let pod = plan.pods.iter().find(|pod| directory.ends_with(pod.directory())).context("a pod without a plan")?;
        Ok(match self {
            Self::None => None,
            Self::App { port, model, keep_alive_ms, routes, spare_descriptors, backlog } => {
                let file = directory.join("routes.json");
                write(&file, &plan.expand(&serde_json::to_string_pretty(routes)?)?)?;
                let listen = format!("{any}:{port}");
                let mut words =
                    words(&[&app, "serve", "--listen", &listen, "--model", model.name(), "--routes", path(&file)?]);
                words.extend(["--ca".to_owned(), authority.clone()]);
                if let Some(spare) = spare_descriptors {
                    words.extend(["--spare-descriptors".to_owned(), spare.to_string()]);
                }
                words.extend(keep_alive_ms.iter().flat_map(|time| ["--keep-alive-ms".to_owned(), time.to_string()]));
                words.extend(backlog.iter().flat_map(|length| ["--backlog".to_owned(), length.to_string()]));
                Some(words)
            }
            Self::Go { port, routes } => {
                let file = directory.join("routes.json");
                write(&file, &plan.expand(&serde_json::to_string_pretty(routes)?)?)?;
                let program = go_binary()?.display().to_string();
                Some(words(&[&program, &format!("{any}:{port}"), path(&file)?]))
            }
            Self::Redis { port } => Some(words(&[&app, "redis", "--listen", &format!("{any}:{port}")])),
            Self::Stuck { port, room } => {
                let listen = std::net::SocketAddr::new(pod.addresses.of(plan.family), *port).to_string();
                let mut command = words(&[&app, "blackhole", "--listen", &listen]);
                command.extend(room.then(|| "--room".to_owned()));
                Some(command)
            }
            Self::Nginx(nginx) => {
                write(&directory.join("nginx.conf"), &nginx.configuration(directory, any, pod, plan)?)?;
                let file = directory.join("nginx.conf");
                Some(words(&["/usr/sbin/nginx", "-p", path(directory)?, "-c", path(&file)?]))
            }
            Self::Haproxy(haproxy) => {
                let file = directory.join("haproxy.cfg");
                write(&file, &haproxy.configuration(directory, any, pod, plan)?)?;
                Some(words(&["/usr/sbin/haproxy", "-db", "-f", path(&file)?]))
            }
            Self::Dns => {
                let file = directory.join("unbound.conf");
                write(&file, &dns::configuration(directory, plan, pod.is(dns::NAME))?)?;
                write(&directory.join("empty.zone"), "")?;
                Some(words(&["/usr/sbin/unbound", "-d", "-c", path(&file)?]))
            }
        })
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is not UTF-8")
}

fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
