//! Who we are: credentials, where they come from, and what registries ask for.
//!
//! What happens here: finding credentials in files, programs and clouds (`config_file`, `helper`, `provider`,
//! `cloud`) and their order for a repository (`keyring`, `candidates`), reading what a registry asks for
//! (`challenge`), getting and renewing tokens, and going on to the next credential after a refusal (`token`,
//! `token_server`). What does not: deciding which request gets which header; `transport` does, and gives none
//! to another origin. Nor filling a keyring: the command does (`connection`), the worker (`credentials`) and
//! the operator's detector (`credentials`).

pub(crate) mod challenge;
pub(crate) mod cloud;
pub(crate) mod config_file;
pub(crate) mod credential;
pub(crate) mod helper;
pub(crate) mod keyring;
pub(crate) mod pattern;
pub(crate) mod provider;
pub(crate) mod registry;
pub(crate) mod token;
pub(crate) mod token_server;

pub use cloud::Cloud;
pub use credential::Credential;
pub use keyring::{Keyring, login_file};
