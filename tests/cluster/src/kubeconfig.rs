//! Files that tell kubectl and the cluster's own parts where the API server is and who they are.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::pki::Identity;

/// How a client proves who it is.
pub(crate) enum Credential<'a> {
    /// A certificate of the cluster's own authority.
    Certificate(&'a Identity),
    /// A service account's token.
    Token(&'a str),
}

/// A kubeconfig for the server at `address` (host and port); JSON, which is YAML.
pub(crate) fn kubeconfig(address: &str, ca_pem: &str, credential: &Credential<'_>) -> Value {
    let user = match credential {
        Credential::Certificate(identity) => json!({
            "client-certificate-data": STANDARD.encode(&identity.cert_pem),
            "client-key-data": STANDARD.encode(&identity.key_pem),
        }),
        Credential::Token(token) => json!({ "token": token }),
    };
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{ "name": "test", "cluster": {
            "server": format!("https://{address}"),
            "certificate-authority-data": STANDARD.encode(ca_pem),
        } }],
        "users": [{ "name": "test", "user": user }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
    })
}
