//! TLS of outbound calls: rustls, which believes one authority only.

use std::{
    io::{Read, Result as IoResult, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use anyhow::{Context as _, Result};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};

use super::call::{Failure, Target};

static AUTHORITY: OnceLock<PathBuf> = OnceLock::new();

/// Whose certificates are believed.
pub fn trust(authority: &Path) {
    AUTHORITY.get_or_init(|| authority.to_owned());
}

/// A connection, with TLS or without.
#[derive(Debug)]
pub enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    /// The handshake is made with the first bytes sent.
    pub fn new(stream: TcpStream, target: &Target) -> Result<Self, Failure> {
        if !target.tls {
            return Ok(Self::Plain(stream));
        }
        let connection = connection(&target.host).map_err(|error| {
            eprintln!("no TLS to {}: {error:#}", target.host);
            Failure::Tls
        })?;
        Ok(Self::Tls(Box::new(StreamOwned::new(connection, stream))))
    }

    #[must_use]
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &stream.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> IoResult<usize> {
        match self {
            Self::Plain(stream) => stream.read(bytes),
            Self::Tls(stream) => stream.read(bytes),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> IoResult<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> IoResult<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

fn connection(host: &str) -> Result<ClientConnection> {
    let authority = AUTHORITY.get().context("no authority is known (--ca)")?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority)?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(ClientConnection::new(Arc::new(config), ServerName::try_from(host.to_owned())?)?)
}
