//! nginx in front of a registry, as people run it: TLS that ends there, a limit on bodies, the registry below
//! a path.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use unbloat_registry_server::Authority;

use crate::registry::Registry;
use crate::tools::{command, fast_folder};

/// A running nginx. It ends with the value.
pub struct Proxy {
    folder: tempfile::TempDir,
    server: Child,
    port: u16,
}

impl Proxy {
    /// Starts one that takes bodies up to `limit` (nginx's way of writing sizes; `0` is none).
    ///
    /// It does not tell the registry that it speaks TLS, so that the registry names itself with `http://`.
    pub fn start(registry: &Registry, limit: &str) -> Result<Self> {
        let folder = fast_folder()?;
        let at = |name: &str| folder.path().join(name);
        let authority = Authority::new()?;
        let identity = authority.issue(&["127.0.0.1"])?;
        fs::write(at("ca.pem"), authority.certificate())?;
        fs::write(at("server.pem"), &identity.certificate)?;
        fs::write(at("server.key"), &identity.key)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let upstream = registry.reference("");
        let upstream = upstream.trim_end_matches('/');
        let place = folder.path().display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|kind| format!("  {kind}_temp_path {place}/{kind};\n"))
            .collect();
        let text = format!(
            "daemon off;\nmaster_process off;\npid {place}/pid;\nerror_log {place}/error.log warn;\nevents {{}}\n\
             http {{\n  access_log {place}/access.log;\n{temporary}\
             \x20 server {{\n    listen 127.0.0.1:{port} ssl;\n    ssl_certificate {place}/server.pem;\n\
             \x20   ssl_certificate_key {place}/server.key;\n    client_max_body_size {limit};\n\
             \x20   proxy_set_header Host $http_host;\n    proxy_http_version 1.1;\n    proxy_request_buffering off;\n\
             \x20   location = /v2/ {{ proxy_pass http://{upstream}/v2/; }}\n\
             \x20   location /v2/team/ {{\n      proxy_pass http://{upstream}/v2/;\n\
             \x20     proxy_redirect ~^(http://[^/]+)?/v2/(.*)$ $1/v2/team/$2;\n    }}\n  }}\n}}\n"
        );
        fs::write(at("nginx.conf"), text)?;
        let log = fs::File::create(at("log"))?;
        let server = command("nginx")
            .args(["-e", "stderr", "-c"])
            .arg(at("nginx.conf"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("nginx")?;
        let started = Self { folder, server, port };
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if begin.elapsed() > Duration::from_secs(20) {
                bail!("nginx does not answer: {}", fs::read_to_string(started.folder.path().join("log"))?);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(started)
    }

    /// `127.0.0.1:PORT/team/NAME`.
    pub fn reference(&self, name: &str) -> String {
        format!("127.0.0.1:{}/team/{name}", self.port)
    }

    /// The authority to trust.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// What was asked of it so far.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.folder.path().join("access.log"))?)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
