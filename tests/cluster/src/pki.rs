//! One certificate authority and what it signs, made at each start and thrown away with the cluster.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose,
};

use crate::error::{Error, Result};

/// A certificate with its key, as files and as text.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) cert_pem: String,
    pub(crate) key_pem: String,
}

/// The cluster's certificate authority.
pub(crate) struct Authority {
    folder: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// Makes an authority whose files lie in `folder`.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(Error::io(format!("make {}", folder.display())))?;
        let mut params = params(Vec::new(), "unbloat-test-ca", None)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let issuer = CertifiedIssuer::self_signed(params, key()?).map_err(misuse)?;
        let authority = Self { folder: folder.to_path_buf(), issuer };
        write(&authority.file(), &authority.pem())?;
        Ok(authority)
    }

    /// The authority's certificate.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// The authority's certificate, as PEM.
    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Signs a certificate for `user` in `group`, good for servers at `names` and for clients.
    pub(crate) fn sign(
        &self,
        file: &str,
        user: &str,
        group: Option<&str>,
        names: &[String],
    ) -> Result<Identity> {
        let mut params = params(names.to_vec(), user, group)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let key = key()?;
        let cert_pem = params.signed_by(&key, &self.issuer).map_err(misuse)?.pem();
        let identity = Identity {
            cert: self.folder.join(format!("{file}.crt")),
            key: self.folder.join(format!("{file}.key")),
            cert_pem,
            key_pem: key.serialize_pem(),
        };
        write(&identity.cert, &identity.cert_pem)?;
        write(&identity.key, &identity.key_pem)?;
        Ok(identity)
    }

    /// A bare pair of keys, private and public: what signs the tokens of service accounts, and what checks
    /// them.
    pub(crate) fn bare_key(&self, file: &str) -> Result<(PathBuf, PathBuf)> {
        let (private, public) =
            (self.folder.join(format!("{file}.key")), self.folder.join(format!("{file}.pub")));
        let key = key()?;
        write(&private, &key.serialize_pem())?;
        write(&public, &key.public_key_pem())?;
        Ok((private, public))
    }
}

fn params(names: Vec<String>, user: &str, group: Option<&str>) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(names).map_err(misuse)?;
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, user);
    if let Some(group) = group {
        name.push(DnType::OrganizationName, group);
    }
    params.distinguished_name = name;
    Ok(params)
}

fn key() -> Result<KeyPair> {
    KeyPair::generate().map_err(misuse)
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(Error::io(format!("write {}", path.display())))
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` wants")]
fn misuse(error: rcgen::Error) -> Error {
    Error::Misuse(format!("cannot make a certificate: {error}"))
}
