//! Certificates of the API server and of its clients.

use std::sync::Arc;

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{RootCertStore, ServerConfig, crypto::ring, pki_types::PrivatePkcs8KeyDer, server::WebPkiClientVerifier};

/// An authority that signs the server's certificate and its clients'.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// In PEM.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Result<Self> {
        let mut parameters = CertificateParams::new(vec![])?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)?))
    }

    #[must_use]
    pub fn certificate(&self) -> String {
        self.0.pem()
    }

    /// For a client to show.
    pub fn client(&self) -> Result<Credentials> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec![])?.signed_by(&key, &self.0)?;
        Ok(Credentials { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// What a server at the loopback address needs; with `clients`, it asks for their certificates.
    pub fn server(&self, clients: bool) -> Result<Arc<ServerConfig>> {
        let provider = Arc::new(ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        let builder = if clients {
            let mut roots = RootCertStore::empty();
            roots.add(self.0.der().clone())?;
            builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?,
            )
        } else {
            builder.with_no_client_auth()
        };
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()])?.signed_by(&key, &self.0)?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        Ok(Arc::new(builder.with_single_cert(vec![certificate.der().clone()], key.into())?))
    }
}
