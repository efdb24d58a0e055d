//! Starting registries in a cluster, and filling them.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::command;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::node::write;
use crate::parts::Part;
use crate::registry::{self, Registry, RegistryOptions};
use crate::tools::{Extra, extra};
use crate::tunnel::Entrance;
use crate::wait::Look;

impl Cluster {
    /// Starts a registry and waits until it answers. Every node's containerd is told how to reach it.
    ///
    /// # Errors
    /// When it does not answer; the message quotes its log.
    pub async fn start_registry(&self, name: &str, options: RegistryOptions) -> Result<Registry> {
        let address = registry::address(self.registries.fetch_add(1, Ordering::Relaxed));
        let program = registry::program(&self.folder, &self.authority, name, address, &options)?;
        let tunnel = self.tunnel(Entrance::Machine, address)?;
        let registry = Registry { name: name.to_owned(), options, address, tunnel };
        self.run(registry.part(), program)?;
        self.wait_for_listener(&registry.part(), address).await?;
        Ok(registry)
    }

    /// Waits until `part` takes connections at `address`: after a start, or a restart.
    ///
    /// # Errors
    /// [`Error::Timeout`] after 30 s, or the part's own end.
    pub async fn wait_for_listener(&self, part: &Part, address: SocketAddr) -> Result<()> {
        let what = format!("{part} to listen at {address}");
        self.wait_for("", &what, Duration::from_secs(30), async || match self.connect(address).await {
            Ok(_) => Ok(Look::Done(())),
            Err(error) => self.check_parts().map(|()| Look::NotYet(error.to_string())),
        })
        .await
    }

    /// Pushes an image as `repository:tag` (with crane, from the node); gives the reference that pods use.
    ///
    /// # Errors
    /// When the registry refuses it.
    pub async fn push(&self, registry: &Registry, image: &Image, name: &str) -> Result<String> {
        let reference = format!("{}/{name}", registry.host());
        let folder = image.folder().display().to_string();
        self.crane(registry, &["push", &folder, &reference]).await?;
        Ok(reference)
    }

    /// Runs crane on the node with the registry's login and authority; gives what it printed.
    ///
    /// # Errors
    /// When it ends with another code than 0.
    pub async fn crane(&self, registry: &Registry, arguments: &[&str]) -> Result<String> {
        let crane = tokio::task::spawn_blocking(|| extra(Extra::Crane)).await;
        let crane = crane.map_err(|error| Error::Misuse(format!("building crane panicked: {error}")))??;
        let login = self.folder.join(format!("registry-{}/login", registry.name));
        write(&login.join("config.json"), &registry.docker_config())?;
        let mut command = self.command(crane);
        command.args(arguments).env("DOCKER_CONFIG", login);
        if registry.has_tls() {
            command.env("SSL_CERT_FILE", self.authority.file());
        } else {
            command.arg("--insecure");
        }
        command::run(command).await
    }
}
