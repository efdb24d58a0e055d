//! Whom a TLS connection trusts, and who it says it is.
//!
//! The certificates of this machine and further ones. A certificate that is itself in a file of trusted ones
//! is trusted as it is, authority or not, as OpenSSL and Go do: `openssl req -x509` makes certificates that
//! call themselves authorities, which no server's certificate may be by the book.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::ErrorKind;
use crate::settings::trust::Trust;

/// The TLS settings of a connection.
pub(crate) fn config(trust: &Trust) -> Result<ClientConfig, ErrorKind> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| ErrorKind::Network(error.to_string()))?;
    let mut trusted = Vec::new();
    for path in &trust.authorities {
        trusted.extend(certificates(path)?);
    }
    let verifier: Arc<dyn ServerCertVerifier> =
        if trust.anyone { Arc::new(Anyone(provider)) } else { Arc::new(Verifier::new(trusted, provider)?) };
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match &trust.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(certificate)?;
            let private = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| local(key, &format!("no PEM key can be read from it: {error}")))?;
            builder
                .with_client_auth_cert(chain, private)
                .map_err(|error| local(certificate, &format!("it does not go with its key: {error}")))?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn local(path: &Path, reason: &str) -> ErrorKind {
    ErrorKind::LocalFile(format!("{}: {reason}", path.display()))
}

/// The certificates of a PEM file, of which there has to be one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ErrorKind> {
    let bytes = std::fs::read(path).map_err(|error| local(path, &error.to_string()))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(local(path, "it holds no PEM certificate")),
        Err(error) => Err(local(path, &format!("it is not a PEM file of certificates: {error}"))),
    }
}

/// The authorities of this machine, read once.
fn of_this_machine() -> &'static [CertificateDer<'static>] {
    static FOUND: OnceLock<Vec<CertificateDer<'static>>> = OnceLock::new();
    FOUND.get_or_init(|| rustls_native_certs::load_native_certs().certs)
}

#[derive(Debug)]
struct Verifier {
    /// `None` where this machine knows no authority and no other was named.
    web: Option<Arc<WebPkiServerVerifier>>,
    trusted: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn new(trusted: Vec<CertificateDer<'static>>, provider: Arc<CryptoProvider>) -> Result<Self, ErrorKind> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(of_this_machine().iter().cloned());
        roots.add_parsable_certificates(trusted.iter().cloned());
        let web = if roots.is_empty() {
            None
        } else {
            let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            Some(builder.build().map_err(|error| ErrorKind::LocalFile(error.to_string()))?)
        };
        Ok(Self { web, trusted, provider })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let refused = match &self.web {
            None => rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer),
            Some(web) => {
                match web.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
                    Ok(verified) => return Ok(verified),
                    Err(error) => error,
                }
            }
        };
        // Only what says "this is no certificate of an authority that I know" is overruled by having been
        // named: the validity is checked before the place in a chain, and the name is checked here.
        let about_its_place = matches!(
            &refused,
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::Other(_))
        );
        if about_its_place && self.trusted.iter().any(|trusted| trusted == end_entity) {
            rustls::client::verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        Err(refused)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Accepts any certificate, as `--insecure-skip-tls-verify` asks.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
