//! The client, from the usual places.

use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use unbloat_api::ImageSquashJob;

use super::error::Error;
use crate::args::ClusterArgs;

/// A cluster and the namespace to work in.
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

impl Connection {
    pub(crate) async fn open(args: &ClusterArgs) -> Result<Self, Error> {
        let bad = |error: &dyn std::fmt::Display| Error::Config(error.to_string());
        let options = KubeConfigOptions { context: args.context.clone(), ..KubeConfigOptions::default() };
        let mut config = match &args.kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path).map_err(|error| bad(&error))?;
                Config::from_custom_kubeconfig(file, &options).await.map_err(|error| bad(&error))?
            }
            None if args.context.is_some() => {
                Config::from_kubeconfig(&options).await.map_err(|error| bad(&error))?
            }
            None => Config::infer().await.map_err(|error| bad(&error))?,
        };
        // The client would repeat 503 for minutes, which is also what it gets for a worker that has just
        // ended.
        config.default_retry = false;
        config.connect_timeout = Some(Duration::from_secs(10));
        let namespace = args.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| bad(&error))?;
        Ok(Self { client, namespace })
    }

    pub(crate) fn jobs(&self) -> Api<ImageSquashJob> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}
