//! One credential.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::secret::Secret;

/// How to prove who one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// User name and password, or an access token as the password.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: Secret,
    },
    /// An OAuth2 refresh token for the registry's token server.
    IdentityToken(Secret),
    /// A bearer token for the registry itself.
    RegistryToken(Secret),
}

/// A basic credential; the user `<token>` marks an identity token, as credential helpers do.
pub(crate) fn basic(username: &str, password: &str) -> Credential {
    if username == "<token>" {
        Credential::IdentityToken(Secret::new(password))
    } else {
        Credential::Basic { username: username.to_owned(), password: Secret::new(password) }
    }
}

/// The `Authorization` header of a user with a password.
pub(crate) fn basic_header(username: &str, password: &Secret) -> Secret {
    Secret::new(format!("Basic {}", STANDARD.encode(format!("{username}:{}", password.expose()))))
}
