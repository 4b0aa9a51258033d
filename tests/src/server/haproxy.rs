//! A gateway of haproxy.

use std::{fmt::Write as _, path::Path};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::tls::{Tls, authority_file};
use crate::cluster::{Plan, plan::Pod};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Haproxy {
    pub port: u16,
    /// Path prefix to Service; what matches none has no backend and gets haproxy's own 503.
    pub routes: Vec<HaproxyRoute>,
    /// Speak TLS.
    #[serde(default)]
    pub tls: Option<Tls>,
    #[serde(default = "one_second")]
    pub connect_timeout_ms: u64,
    #[serde(default = "ten_seconds")]
    pub server_timeout_ms: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HaproxyRoute {
    pub path: String,
    pub to: String,
}

impl Haproxy {
    pub fn configuration(&self, directory: &Path, any: &str, pod: &Pod, plan: &Plan) -> Result<String> {
        let Self { port, routes, tls, connect_timeout_ms, server_timeout_ms } = self;
        let mut ssl = String::new();
        if let Some(tls) = tls {
            let (_, key) = tls.files(directory, &pod.spec)?;
            write!(ssl, " ssl crt {}", key.display())?;
            if let Some(version) = &tls.version {
                write!(ssl, " ssl-min-ver {version} ssl-max-ver {version}")?;
            }
            if tls.client_certificate {
                let authority = authority_file(directory.parent().unwrap_or(directory));
                write!(ssl, " ca-file {} verify required", authority.display())?;
            }
        }
        let mut text = format!(
            "global\n  maxconn 512\ndefaults\n  mode http\n  retries 0\n  timeout client 30s\n\
             \x20 timeout connect {connect_timeout_ms}ms\n  timeout server {server_timeout_ms}ms\n\
             frontend web\n  bind {any}:{port}{ssl}\n"
        );
        for (number, route) in routes.iter().enumerate() {
            writeln!(text, "  use_backend b{number} if {{ path_beg {} }}", route.path)?;
        }
        for (number, route) in routes.iter().enumerate() {
            let peer = plan.service_address(&route.to)?;
            writeln!(text, "backend b{number}\n  server one {peer}")?;
        }
        Ok(text)
    }
}

fn one_second() -> u64 {
    1000
}
fn ten_seconds() -> u64 {
    10_000
}
