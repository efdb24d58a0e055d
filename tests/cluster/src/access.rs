//! Ways to the API: clients and kubectl, as administrator or as a service account with just its own rights.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::command;
use crate::error::{Error, Result};
use crate::kubeconfig::{Credential, kubeconfig};
use crate::node::write;

/// Longer than any test.
const TOKEN_SECONDS: i64 = 4 * 3600;

impl Cluster {
    /// A client with all rights. Make one for each runtime: a client lives in the one that made it.
    ///
    /// # Errors
    /// When the client cannot be made; nothing is sent.
    pub async fn client(&self) -> Result<Client> {
        let path = self.kubeconfig();
        let text = std::fs::read(&path).map_err(Error::io(format!("read {}", path.display())))?;
        client_of(serde_json::from_slice(&text).expect("it was written as JSON")).await
    }

    /// A client with the rights of a service account: a missing verb fails here as it would in production.
    ///
    /// # Errors
    /// When the account does not exist.
    pub async fn client_as(&self, namespace: &str, account: &str) -> Result<Client> {
        client_of(self.config_as(namespace, account, self.api_tunnel().address()).await?).await
    }

    /// A kubeconfig with the rights of a service account for the API server at `server`: its own
    /// [`address`](Self::api_address) or a [`tunnel`](Self::tunnel)'s, which can be cut.
    ///
    /// # Errors
    /// When the account does not exist.
    pub async fn kubeconfig_as(&self, namespace: &str, account: &str, server: SocketAddr) -> Result<PathBuf> {
        let config = self.config_as(namespace, account, server).await?;
        let path = self.folder.join(format!("kubeconfigs/{namespace}-{account}-{}", server.port()));
        write(&path, &config.to_string())?;
        Ok(path)
    }

    async fn config_as(&self, namespace: &str, account: &str, server: SocketAddr) -> Result<Value> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec { expiration_seconds: Some(TOKEN_SECONDS), ..Default::default() }),
            ..Default::default()
        };
        let answer = accounts
            .create_token_request(account, &Default::default(), &request)
            .await
            .map_err(Error::kube(format!("get a token of the service account {namespace}/{account}")))?;
        let token = answer.status.and_then(|status| status.token).unwrap_or_default();
        Ok(kubeconfig(&server.to_string(), &self.authority.pem(), &Credential::Token(&token)))
    }

    /// The administrator's kubeconfig for programs on this machine.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfigs/admin-outside")
    }

    /// The administrator's kubeconfig for programs inside the cluster's namespaces.
    pub fn kubeconfig_inside(&self) -> PathBuf {
        self.folder.join("kubeconfigs/admin")
    }

    /// Runs kubectl with all rights; gives what it printed.
    ///
    /// # Errors
    /// When it ends with another code than 0, with all that it printed.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        command::run(self.kubectl_command(arguments)).await
    }

    /// kubectl with all rights, to be run by the caller.
    pub fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.tools.path("kubectl"));
        command.env("KUBECONFIG", self.kubeconfig()).args(arguments);
        // Its cache of what the server knows is keyed by address, and tunnels reuse addresses.
        command.arg("--cache-dir").arg(self.folder.join("kubectl-cache"));
        command
    }

    /// Applies manifests, YAML or JSON, one or many, as `kubectl apply --server-side` does.
    ///
    /// # Errors
    /// When the API server refuses one, with its words.
    pub async fn apply(&self, manifests: &str) -> Result<String> {
        let arguments = ["apply", "--server-side", "--force-conflicts", "--filename", "-"];
        command::run_with(self.kubectl_command(&arguments), manifests).await
    }

    /// Deletes what manifests name, and waits until it is gone.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn delete(&self, manifests: &str) -> Result<String> {
        let arguments = ["delete", "--ignore-not-found", "--wait", "--filename", "-"];
        command::run_with(self.kubectl_command(&arguments), manifests).await
    }
}

async fn client_of(config: Value) -> Result<Client> {
    let config: Kubeconfig = serde_json::from_value(config).expect("kubeconfig() writes what kubectl reads");
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await;
    let mut config = config.map_err(|error| Error::Misuse(format!("cannot use a kubeconfig: {error}")))?;
    // A frozen connection must fail a test's wait, not hang it.
    config.connect_timeout = Some(std::time::Duration::from_secs(5));
    Client::try_from(config).map_err(Error::kube("make a client"))
}
