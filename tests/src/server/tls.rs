//! Certificates of the servers: made anew by every process, by an authority of its own.

use std::{
    path::{Path, PathBuf},
    sync::LazyLock,
};

use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use serde::{Deserialize, Serialize};

use super::write;
use crate::cluster::spec::PodSpec;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    #[serde(default)]
    pub certificate: Certificate,
    /// As nginx and haproxy call them (`TLSv1.2`); what the library likes unless given.
    #[serde(default)]
    pub version: Option<String>,
    /// Ask for a client certificate, and end the handshake without one.
    #[serde(default)]
    pub client_certificate: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Certificate {
    #[default]
    Valid,
    Expired,
    /// For another name.
    OtherName,
    /// By an authority that nobody trusts: itself.
    SelfSigned,
}

/// The authority that clients trust, where every pod's directory lies.
#[must_use]
pub fn authority_file(directory: &Path) -> PathBuf {
    directory.join("authority.pem")
}

/// Writes the authority's certificate.
pub fn write_authority(directory: &Path) -> Result<()> {
    write(&authority_file(directory), &authority()?.pem())
}

/// Writes a certificate of the authority for some names, with its key in the same file.
pub fn write_certificate(directory: &Path, name: &str, names: &[&str]) -> Result<PathBuf> {
    let key = KeyPair::generate()?;
    let parameters = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
    let certificate = parameters.signed_by(&key, authority()?)?;
    let file = directory.join(format!("{name}.pem"));
    write(&file, &format!("{}{}", certificate.pem(), key.serialize_pem()))?;
    Ok(file)
}

impl Tls {
    /// Writes the pod's certificate and key; gives their files, the key's one holding both.
    pub fn files(&self, directory: &Path, pod: &PodSpec) -> Result<(PathBuf, PathBuf)> {
        let (name, namespace) = (&pod.name, &pod.namespace);
        let names = match self.certificate {
            Certificate::OtherName => vec!["other.example.com".to_owned()],
            _ => vec![name.clone(), format!("{name}.{namespace}"), format!("{name}.{namespace}.svc.cluster.local")],
        };
        let mut parameters = CertificateParams::new(names)?;
        if self.certificate == Certificate::Expired {
            parameters.not_before = date_time_ymd(2020, 1, 1);
            parameters.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate()?;
        let certificate = match self.certificate {
            Certificate::SelfSigned => parameters.self_signed(&key)?,
            _ => parameters.signed_by(&key, authority()?)?,
        };
        let (file, both) = (directory.join("certificate.pem"), directory.join("key.pem"));
        write(&file, &certificate.pem())?;
        write(&both, &format!("{}{}", certificate.pem(), key.serialize_pem()))?;
        Ok((file, both))
    }
}

fn authority() -> Result<&'static CertifiedIssuer<'static, KeyPair>> {
    static AUTHORITY: LazyLock<Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error>> = LazyLock::new(|| {
        let mut parameters = CertificateParams::new(vec![])?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Named as what it signs, it would look as if that had signed itself.
        parameters.distinguished_name.push(DnType::CommonName, "tracer-tests authority");
        CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)
    });
    AUTHORITY.as_ref().ok().context("no certificate authority could be made")
}
