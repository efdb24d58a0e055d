//! Cutting pods off from the API server. A program that is no pod is cut off by its own
//! [`Tunnel`](crate::Tunnel).

use std::net::IpAddr;

use crate::cluster::Cluster;
use crate::command;
use crate::error::Result;

impl Cluster {
    /// Drops, from now on, all that the pod at `address` sends to the API server, on open connections too.
    /// Nothing tells the pod: its calls hang until its own time limit.
    ///
    /// # Errors
    /// When iptables refuses.
    pub async fn cut_off(&self, address: IpAddr) -> Result<()> {
        self.change_rule("--insert", address).await
    }

    /// Undoes [`cut_off`](Self::cut_off).
    ///
    /// # Errors
    /// When the pod is not cut off.
    pub async fn mend(&self, address: IpAddr) -> Result<()> {
        self.change_rule("--delete", address).await
    }

    async fn change_rule(&self, verb: &str, address: IpAddr) -> Result<()> {
        let mut iptables = self.command("iptables");
        let port = self.api_address().port().to_string();
        // The Service's address has become the server's own before this chain.
        iptables.args(["--wait", verb, "INPUT", "--source", &address.to_string()]);
        iptables.args(["--protocol", "tcp", "--dport", &port, "--jump", "DROP"]);
        command::run(iptables).await.map(|_| ())
    }
}
