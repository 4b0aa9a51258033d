//! A gateway of nginx.

use std::{fmt::Write as _, path::Path};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::tls::{Tls, authority_file};
use crate::cluster::{Plan, plan::Pod};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nginx {
    pub port: u16,
    pub locations: Vec<Location>,
    /// Give every request an `X-Request-Id`, keeping the one that came.
    #[serde(default)]
    pub request_id: bool,
    /// Remove the id headers that came.
    #[serde(default)]
    pub strip_ids: bool,
    /// Keep connections to the upstreams open.
    #[serde(default)]
    pub keep_alive: bool,
    /// Speak TLS.
    #[serde(default)]
    pub tls: Option<Tls>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Location {
    pub path: String,
    /// The Service `namespace/name` to proxy to.
    #[serde(default)]
    pub to: Option<String>,
    /// Name it so many times: nginx marks each of several servers down that fails, and then answers without trying.
    #[serde(default = "once")]
    pub servers: usize,
    /// Let nginx resolve the Service's name at start instead of using its ClusterIP.
    #[serde(default)]
    pub by_name: bool,
    /// Speak TLS to it, and believe the cluster's authority only.
    #[serde(default)]
    pub tls: bool,
    /// Answer this without an upstream.
    #[serde(default)]
    pub answer: Option<u16>,
    /// Proxy to a server behind a Unix socket, which answers this.
    #[serde(default)]
    pub unix: Option<u16>,
    #[serde(default = "one_second")]
    pub connect_timeout_ms: u64,
    #[serde(default = "ten_seconds")]
    pub read_timeout_ms: u64,
}

impl Nginx {
    pub fn configuration(&self, directory: &Path, any: &str, pod: &Pod, plan: &Plan) -> Result<String> {
        let authority = authority_file(directory.parent().unwrap_or(directory));
        let mut ssl = String::new();
        if let Some(tls) = &self.tls {
            let (certificate, key) = tls.files(directory, &pod.spec)?;
            writeln!(
                ssl,
                "    ssl_certificate {};\n    ssl_certificate_key {};",
                certificate.display(),
                key.display()
            )?;
            if let Some(version) = &tls.version {
                writeln!(ssl, "    ssl_protocols {version};")?;
            }
        }
        let speaks = if self.tls.is_some() { " ssl" } else { "" };
        let (directory, port) = (directory.display(), self.port);
        let mut locations = String::new();
        let mut upstreams = String::new();
        for (number, location) in self.locations.iter().enumerate() {
            let Location { path, to, servers, by_name, tls, answer, unix, connect_timeout_ms, read_timeout_ms } =
                location;
            writeln!(locations, "    location {path} {{")?;
            if let Some(status) = answer {
                writeln!(locations, "      return {status};")?;
            } else if let Some(status) = unix {
                let socket = format!("unix:{directory}/{number}.sock");
                writeln!(locations, "      proxy_pass http://{socket}:;")?;
                writeln!(upstreams, "  server {{ listen {socket}; return {status}; }}")?;
            } else if let Some(to) = to {
                let peer = if *by_name { plan.service_name(to)? } else { plan.service_address(to)? };
                let keep = if self.keep_alive { " keepalive 16;" } else { "" };
                let servers = format!(" server {peer};").repeat(*servers);
                writeln!(upstreams, "  upstream u{number} {{{servers}{keep} }}")?;
                let scheme = if *tls { "https" } else { "http" };
                writeln!(locations, "      proxy_pass {scheme}://u{number};")?;
                if *tls {
                    let (authority, name) = (authority.display(), &plan.service(to)?.spec.name);
                    writeln!(
                        locations,
                        "      proxy_ssl_verify on;\n      proxy_ssl_trusted_certificate {authority};"
                    )?;
                    writeln!(locations, "      proxy_ssl_server_name on;\n      proxy_ssl_name {name};")?;
                }
                writeln!(locations, "      proxy_connect_timeout {connect_timeout_ms}ms;")?;
                writeln!(locations, "      proxy_read_timeout {read_timeout_ms}ms;")?;
            }
            writeln!(locations, "    }}")?;
        }
        let mut headers = String::from("    proxy_set_header Host $host;\n");
        if self.keep_alive {
            headers += "    proxy_http_version 1.1;\n    proxy_set_header Connection \"\";\n";
        }
        if self.request_id {
            headers += "    proxy_set_header X-Request-Id $kept_request_id;\n";
        }
        if self.strip_ids {
            headers += "    proxy_set_header X-Request-Id \"\";\n    proxy_set_header traceparent \"\";\n";
        }
        Ok(format!(
            "daemon off;\nuser root;\nworker_processes 1;\npid {directory}/nginx.pid;\nerror_log stderr;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\n  access_log off;\n  proxy_next_upstream off;\n\
             \x20 client_body_temp_path {directory}/body;\n  proxy_temp_path {directory}/proxy;\n\
             \x20 fastcgi_temp_path {directory}/fastcgi;\n  uwsgi_temp_path {directory}/uwsgi;\n\
             \x20 scgi_temp_path {directory}/scgi;\n\
             \x20 map $http_x_request_id $kept_request_id {{ default $http_x_request_id; \"\" $request_id; }}\n\
             {upstreams}  server {{\n    listen {any}:{port}{speaks};\n{ssl}{headers}{locations}  }}\n}}\n"
        ))
    }
}

fn once() -> usize {
    1
}
fn one_second() -> u64 {
    1000
}
fn ten_seconds() -> u64 {
    10_000
}
