//! Server certificates: from files, or for development from a local authority
//! that clients are pointed at with `--ca-file`.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("{path}: {reason}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Certificate and key do not belong together, or are of no use.
    #[error("the certificate in {certificate} and the key in {key}: {reason}")]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        reason: String,
    },
    /// The local authority cannot be made.
    #[error("the development certificate cannot be made: {0}")]
    Development(#[from] rcgen::Error),
}

/// Serves one certificate, and can be given another while it serves: what a
/// reload swaps.
#[derive(Debug)]
pub struct CurrentCertificate(ArcSwap<CertifiedKey>);

impl CurrentCertificate {
    /// Serves this one from the next handshake on.
    pub fn replace(&self, certificate: CertifiedKey) {
        self.0.store(Arc::new(certificate));
    }
}

impl ResolvesServerCert for CurrentCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// TLS 1.2 and 1.3, HTTP/2 by ALPN, with the certificate of these files.
pub fn from_files(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    serve(load(certificate, key)?)
}

/// Reads certificate and key and checks that they belong together.
pub fn load(certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let unreadable = |path: &Path, reason: String| TlsError::File { path: path.to_owned(), reason };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable(certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(unreadable(certificate, "no certificate in it".to_owned()));
    }
    let mode =
        std::fs::metadata(key).map_err(|error| unreadable(key, error.to_string()))?.permissions().mode();
    if mode & 0o007 != 0 {
        return Err(unreadable(
            key,
            format!("mode {:04o} lets everybody read the key; chmod 600 it", mode & 0o7777),
        ));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|_| {
        // The parser's message could quote the file.
        unreadable(key, "no PEM private key in it".to_owned())
    })?;
    CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider()).map_err(|error| TlsError::Pair {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        reason: error.to_string(),
    })
}

fn serve(certificate: CertifiedKey) -> Result<Arc<ServerConfig>, TlsError> {
    let current = Arc::new(CurrentCertificate(ArcSwap::from_pointee(certificate)));
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::File { path: PathBuf::new(), reason: error.to_string() })?
        .with_no_client_auth()
        .with_cert_resolver(current);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A certificate for localhost from an authority under `directory` that is made
/// once, so that a client's trust survives a restart. Says where the authority's
/// certificate is.
pub fn development(directory: &Path) -> Result<(Arc<ServerConfig>, PathBuf), TlsError> {
    let (ca_path, ca_key_path) = (directory.join("ca.crt"), directory.join("ca.key"));
    let file_error = |path: &Path, error: std::io::Error| TlsError::File {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    std::fs::create_dir_all(directory).map_err(|error| file_error(directory, error))?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, "AgentKeys broker, local development");
    let authority = if ca_key_path.exists() && ca_path.exists() {
        let pem = std::fs::read_to_string(&ca_key_path).map_err(|error| file_error(&ca_key_path, error))?;
        KeyPair::from_pem(&pem)?
    } else {
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        write_private(&ca_key_path, &key.serialize_pem()).map_err(|error| file_error(&ca_key_path, error))?;
        std::fs::write(&ca_path, certificate.pem()).map_err(|error| file_error(&ca_path, error))?;
        key
    };
    let issuer = Issuer::new(params, authority);
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let mut leaf = CertificateParams::new(names)?;
    leaf.distinguished_name.push(DnType::CommonName, "localhost");
    let key = KeyPair::generate()?;
    let certificate = leaf.signed_by(&key, &issuer)?;
    let (certificate_path, key_path) = (directory.join("server.crt"), directory.join("server.key"));
    std::fs::write(&certificate_path, certificate.pem())
        .map_err(|error| file_error(&certificate_path, error))?;
    write_private(&key_path, &key.serialize_pem()).map_err(|error| file_error(&key_path, error))?;
    Ok((from_files(&certificate_path, &key_path)?, ca_path))
}

/// Created with mode 0600 from the start: never looser, not even for a moment.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_survives_a_restart_and_its_key_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let (_, ca) = development(directory.path()).unwrap();
        let first = std::fs::read(&ca).unwrap();
        development(directory.path()).unwrap();
        assert_eq!(std::fs::read(&ca).unwrap(), first);
        for key in ["ca.key", "server.key"] {
            let mode = std::fs::metadata(directory.path().join(key)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{key}");
        }
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        development(a.path()).unwrap();
        development(b.path()).unwrap();
        let mixed = load(&a.path().join("server.crt"), &b.path().join("server.key"));
        assert!(matches!(mixed, Err(TlsError::Pair { .. })), "{mixed:?}");
    }
}
