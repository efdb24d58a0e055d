//! Registries on the node's address, which pods and containerd reach, and which the test reaches through a
//! tunnel.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::error::{Error, Result};
use crate::net;
use crate::node::write;
use crate::parts::Part;
use crate::pki::Authority;
use crate::process::Program;
use crate::tools::{self, Extra};
use crate::tunnel::Tunnel;

/// Which registry, and how it is reached.
#[derive(Clone, Debug, Default)]
pub struct RegistryOptions {
    /// Serve TLS with a certificate of the cluster's own authority, which each node's containerd is told to
    /// trust.
    pub tls: bool,
    /// The only user and password that may enter.
    pub login: Option<(String, String)>,
    /// Refuse all writes: for content that is there already, or a target that says no.
    pub read_only: bool,
    /// Refuse deletions, as the distribution project's registry does unless it is told otherwise.
    pub keeps_all: bool,
    /// Run the distribution project's version 3 in place of Debian's 2.8.
    pub version_3: bool,
}

/// A running registry.
pub struct Registry {
    pub(crate) name: String,
    pub(crate) options: RegistryOptions,
    pub(crate) address: SocketAddr,
    pub(crate) tunnel: Tunnel,
}

impl Registry {
    /// Host and port in image references, inside the cluster: pods, containerd, and programs run on the node.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Host and port of the same registry on this machine's loopback.
    pub fn host_outside(&self) -> String {
        self.tunnel.address().to_string()
    }

    /// The tunnel behind [`host_outside`](Self::host_outside): to cut the test's own way to the registry.
    pub fn tunnel(&self) -> &Tunnel {
        &self.tunnel
    }

    /// The part to kill and start again.
    pub fn part(&self) -> Part {
        Part::Registry(self.name.clone())
    }

    /// Whether it serves TLS.
    pub fn has_tls(&self) -> bool {
        self.options.tls
    }

    /// A Docker `config.json` that logs in here, by both of its addresses; without a login, an empty one.
    pub fn docker_config(&self) -> String {
        let Some((user, password)) = &self.options.login else { return json!({ "auths": {} }).to_string() };
        let auth = json!({ "auth": STANDARD.encode(format!("{user}:{password}")) });
        json!({ "auths": { self.host(): auth, self.host_outside(): auth } }).to_string()
    }

    /// A `kubernetes.io/dockerconfigjson` Secret with that login, as a manifest to apply.
    pub fn pull_secret(&self, namespace: &str, name: &str) -> String {
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/dockerconfigjson",
            "metadata": { "namespace": namespace, "name": name },
            "data": { ".dockerconfigjson": STANDARD.encode(self.docker_config()) },
        })
        .to_string()
    }
}

/// The address of registry number `index`.
pub(crate) fn address(index: usize) -> SocketAddr {
    SocketAddr::from((
        net::node_ip(0),
        5000 + u16::try_from(index).expect("a cluster has a handful of registries"),
    ))
}

/// Writes a registry's files and says what to run; also tells containerd how to reach it.
pub(crate) fn program(
    folder: &Path,
    authority: &Authority,
    name: &str,
    address: SocketAddr,
    options: &RegistryOptions,
) -> Result<Program> {
    let own = folder.join(format!("registry-{name}"));
    let mut http =
        json!({ "addr": address.to_string(), "headers": { "X-Content-Type-Options": ["nosniff"] } });
    let scheme = if options.tls { "https" } else { "http" };
    if options.tls {
        let names = [address.ip().to_string(), Ipv4Addr::LOCALHOST.to_string(), "localhost".into()];
        let serving = authority.sign(&format!("registry-{name}"), "registry", None, &names)?;
        http["tls"] = json!({ "certificate": serving.cert, "key": serving.key });
    }
    let mut config = json!({
        "version": 0.1,
        "log": { "level": "info", "accesslog": { "disabled": false } },
        "storage": { "filesystem": { "rootdirectory": own.join("data") }, "delete": { "enabled": !options.keeps_all } },
        "http": http,
    });
    if options.read_only {
        config["storage"]["maintenance"] = json!({ "readonly": { "enabled": true } });
    }
    if let Some((user, password)) = &options.login {
        let file = own.join("htpasswd");
        // The lowest cost there is: the password is public.
        let hash = bcrypt::hash(password, 4)
            .map_err(|error| Error::Misuse(format!("cannot hash a password: {error}")))?;
        write(&file, &format!("{user}:{hash}\n"))?;
        config["auth"] = json!({ "htpasswd": { "realm": "test", "path": file } });
    }
    let config_file = own.join("config.yml");
    write(&config_file, &config.to_string())?;

    let hosts = folder.join(format!("registries/{address}/hosts.toml"));
    let server = format!("{scheme}://{address}");
    let ca = if options.tls { format!("ca = \"{}\"\n", authority.file().display()) } else { String::new() };
    let rules = "capabilities = [\"pull\", \"resolve\"]\n";
    write(&hosts, &format!("server = \"{server}\"\n[host.\"{server}\"]\n{rules}{ca}"))?;

    let command = if options.version_3 {
        tools::extra(Extra::RegistryV3)?.display().to_string()
    } else {
        "docker-registry".to_owned()
    };
    let words = vec![command, "serve".into(), config_file.display().to_string()];
    let program = Program::new(Part::Registry(name.to_owned()).to_string(), &folder.join("logs"), words);
    // Version 3 sends traces to a collector that nobody runs, and waits for it.
    Ok(program.env("OTEL_TRACES_EXPORTER", "none"))
}
