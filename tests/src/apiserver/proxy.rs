//! The pod proxy: `/api/v1/namespaces/NS/pods/NAME:PORT/proxy/PATH` is the pod's own `PATH`.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use super::{
    http::{self, Request},
    stream::Stream,
};

/// A request that is for a pod.
#[derive(Debug, PartialEq)]
pub(super) struct Target {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) port: u16,
    /// With its query.
    path: String,
}

impl Target {
    pub(super) fn of(request: &Request) -> Option<Self> {
        let (namespace, rest) = request.target.strip_prefix("/api/v1/namespaces/")?.split_once("/pods/")?;
        let (pod, path) = rest.split_once("/proxy")?;
        let (pod, port) = pod.split_once(':')?;
        Some(Self { namespace: namespace.into(), pod: pod.into(), port: port.parse().ok()?, path: path.into() })
    }
}

/// Passes the request on, and the answer back as it is; then the connection ends.
pub(super) fn pass(connection: &mut Stream, target: &Target, backend: Option<SocketAddr>) -> io::Result<()> {
    let Target { namespace, pod, port, path } = target;
    let reached = backend.ok_or_else(|| io::Error::other("no such pod")).and_then(TcpStream::connect);
    let mut stream = match reached {
        Ok(stream) => stream,
        Err(error) => {
            // As the proxy handler says it (staging/src/k8s.io/apimachinery/pkg/util/proxy/upgradeaware.go).
            let message = format!("error trying to reach service: dial tcp {namespace}/{pod}:{port}: {error}");
            return http::answer(connection, 503, "", &http::failure(503, "ServiceUnavailable", &message));
        }
    };
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {pod}:{port}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    connection.write_all(&answer)?;
    Err(io::ErrorKind::ConnectionAborted.into())
}
