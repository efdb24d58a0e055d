//! `login`, `logout`: credentials into the file where every tool finds them, and out of it.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use serde::Serialize;
use unbloat_registry::{Client, ClientOptions, Credential, Keyring, Registries, Secret};

use crate::args::{LoginArgs, LogoutArgs};
use crate::commands::{print, print_json};
use crate::connection::Passwords;
use crate::error::Usage;
use crate::settings::Settings;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    registry: String,
    logged_in: bool,
    file: String,
}

fn registry_name(text: &str) -> Result<String, Usage> {
    let bare = text.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let bare = match bare {
        "index.docker.io/v1" | "index.docker.io" | "registry-1.docker.io" => "docker.io",
        other => other,
    };
    let wrong = || Usage(format!("{text} is no registry: it takes HOST or HOST:PORT"));
    let reference: unbloat_oci::Reference = format!("{bare}/x").parse().map_err(|_| wrong())?;
    if bare.contains('/') || reference.registry() != bare {
        return Err(wrong());
    }
    Ok(bare.to_owned())
}

pub(crate) async fn login(settings: &Settings, args: LoginArgs) -> anyhow::Result<()> {
    let registry = registry_name(&args.registry)?;
    let path = args.file.path()?;
    let username = match args.username {
        Some(name) => name,
        None => ask("Username: ", true)?,
    };
    let password =
        if args.password_stdin { Passwords.next()? } else { Secret::new(ask("Password: ", false)?) };
    if username.is_empty() || username.contains(':') {
        return Err(Usage("a user name is not empty and has no ':'".to_owned()).into());
    }
    let mut registries = Registries::from_environment()?;
    registries.host(&registry).plain_http |= args.plain_http;
    let client = Client::checked(ClientOptions {
        keyring: Keyring::anonymous(),
        registries,
        ca_files: args.ca_file,
        insecure_skip_tls_verify: args.insecure_skip_tls_verify,
        ..ClientOptions::default()
    })?;
    let credential = Credential::Basic { username: username.clone(), password: password.clone() };
    client.verify_login(&registry, &credential).await?;
    let stored = unbloat_registry::store_login(&path, &registry, &username, &password).await?;
    report(settings, Done { registry, logged_in: true, file: stored.to_string() }, true)
}

pub(crate) async fn logout(settings: &Settings, args: LogoutArgs) -> anyhow::Result<()> {
    let registry = registry_name(&args.registry)?;
    let path = args.file.path()?;
    let had = unbloat_registry::remove_login(&path, &registry).await?;
    report(settings, Done { registry, logged_in: false, file: path.display().to_string() }, had)
}

fn report(settings: &Settings, done: Done, changed: bool) -> anyhow::Result<()> {
    if settings.is_json() {
        return print_json(&done);
    }
    let Done { registry, logged_in, file } = done;
    print(&match (logged_in, changed) {
        (true, _) => format!("logged in to {registry}; the credentials are in {file}"),
        (false, true) => format!("logged out of {registry}"),
        (false, false) => format!("{file} has no credentials for {registry}"),
    })
}

/// A line from the terminal, shown or not.
fn ask(question: &str, shown: bool) -> anyhow::Result<String> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        let words = "name the user with --username and give the password with --password-stdin";
        return Err(Usage(words.to_owned()).into());
    }
    eprint!("{question}");
    std::io::stderr().flush()?;
    let hidden = if shown { None } else { Some(Hidden::begin()?) };
    let mut line = String::new();
    input.lock().read_line(&mut line)?;
    if hidden.is_some() {
        eprintln!();
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// A terminal that does not show what is typed, until this is dropped.
struct Hidden(rustix::termios::Termios);

impl Hidden {
    fn begin() -> std::io::Result<Self> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let before = tcgetattr(std::io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let actions = rustix::termios::OptionalActions::Flush;
        let _ = rustix::termios::tcsetattr(std::io::stdin(), actions, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_named_by_its_host() {
        for (text, name) in [
            ("reg.example:5000", "reg.example:5000"),
            ("https://reg.example/", "reg.example"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("docker.io", "docker.io"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(registry_name(text).map_err(|error| error.to_string()), Ok(name.to_owned()), "{text}");
        }
        for text in ["", "reg.example/team", "no-host", "a b"] {
            assert!(registry_name(text).is_err(), "{text}");
        }
    }
}
