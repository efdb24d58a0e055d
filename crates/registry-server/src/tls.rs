//! TLS for tests: authorities, certificates, and what a TLS port says to plain HTTP.

use std::io;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate as PEM.
    pub certificate: String,
    /// The key as PEM.
    pub key: String,
    der: Vec<u8>,
    key_der: Vec<u8>,
}

/// A certificate authority.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

/// How a TLS port answers plain HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlainOnTls {
    /// 400 with words, as Go's server and nginx do.
    #[default]
    BadRequest,
    /// An alert record of TLS, and the end.
    Alert,
    /// The end.
    Close,
}

/// TLS of a server.
#[derive(Clone, Debug)]
pub struct Tls {
    /// What the server shows.
    pub identity: Identity,
    /// Clients have to show a certificate of this authority (PEM).
    pub client_authority: Option<String>,
    /// What it says to plain HTTP.
    pub plain: PlainOnTls,
}

impl Authority {
    /// A new authority.
    ///
    /// # Errors
    /// If no key can be made.
    pub fn new() -> io::Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "authority of a test");
        let key = KeyPair::generate().map_err(io::Error::other)?;
        Ok(Self { issuer: CertifiedIssuer::self_signed(params, key).map_err(io::Error::other)? })
    }

    /// Its certificate as PEM.
    #[must_use]
    pub fn certificate(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for these names and addresses, for servers and clients.
    ///
    /// # Errors
    /// If no key can be made.
    pub fn issue(&self, names: &[&str]) -> io::Result<Identity> {
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate = params(names)?.signed_by(&key, &*self.issuer).map_err(io::Error::other)?;
        Ok(Identity::new(&certificate, &key))
    }
}

fn params(names: &[&str]) -> io::Result<CertificateParams> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).map_err(io::Error::other)?;
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

impl Identity {
    fn new(certificate: &rcgen::Certificate, key: &KeyPair) -> Self {
        Self {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().to_vec(),
            key_der: key.serialize_der(),
        }
    }

    /// A certificate that signed itself; as `openssl req -x509` makes it, it calls itself an authority.
    ///
    /// # Errors
    /// If no key can be made.
    pub fn self_signed(names: &[&str], authority: bool) -> io::Result<Self> {
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let mut params = params(names)?;
        if authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        Ok(Self::new(&params.self_signed(&key).map_err(io::Error::other)?, &key))
    }

    /// One that was valid until long ago.
    ///
    /// # Errors
    /// If no key can be made.
    pub fn expired(names: &[&str], authority: bool) -> io::Result<Self> {
        Self::valid_between(names, authority, (2001, 2002))
    }

    /// One that signed itself and is valid from the beginning of one year to that of another.
    ///
    /// # Errors
    /// If no key can be made.
    pub fn valid_between(names: &[&str], authority: bool, years: (i32, i32)) -> io::Result<Self> {
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let mut params = params(names)?;
        params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        if authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        Ok(Self::new(&params.self_signed(&key).map_err(io::Error::other)?, &key))
    }
}

impl From<Identity> for Tls {
    fn from(identity: Identity) -> Self {
        Self { identity, client_authority: None, plain: PlainOnTls::default() }
    }
}

/// What accepts connections.
#[derive(Clone)]
pub(crate) struct Acceptor {
    tls: tokio_rustls::TlsAcceptor,
    plain: PlainOnTls,
}

impl Acceptor {
    pub(crate) fn new(tls: &Tls) -> io::Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?;
        let builder = match &tls.client_authority {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                use rustls::pki_types::pem::PemObject;
                let mut roots = RootCertStore::empty();
                let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(io::Error::other)?;
                roots.add(certificate).map_err(io::Error::other)?;
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .map_err(io::Error::other)?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let key = PrivateKeyDer::try_from(tls.identity.key_der.clone()).map_err(io::Error::other)?;
        let chain = vec![CertificateDer::from(tls.identity.der.clone())];
        let config = builder.with_single_cert(chain, key).map_err(io::Error::other)?;
        Ok(Self { tls: Arc::new(config).into(), plain: tls.plain })
    }

    /// The TLS stream, or `None` after plain HTTP was answered.
    pub(crate) async fn accept(
        &self,
        mut stream: TcpStream,
    ) -> io::Result<Option<tokio_rustls::server::TlsStream<TcpStream>>> {
        const HANDSHAKE: u8 = 0x16;
        let mut first = [0];
        if stream.peek(&mut first).await? == 1 && first[0] == HANDSHAKE {
            return self.tls.accept(stream).await.map(Some);
        }
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await?;
        let words = "Client sent an HTTP request to an HTTPS server.\n";
        let answer = match self.plain {
            PlainOnTls::BadRequest => {
                format!("HTTP/1.0 400 Bad Request\r\nContent-Length: {}\r\n\r\n{words}", words.len())
                    .into_bytes()
            }
            // A fatal alert: unexpected message.
            PlainOnTls::Alert => vec![0x15, 3, 1, 0, 2, 2, 10],
            PlainOnTls::Close => Vec::new(),
        };
        stream.write_all(&answer).await?;
        stream.shutdown().await?;
        Ok(None)
    }
}
