//! The files that users have, and the proxies that their environment names. One test: variables belong to the
//! whole process.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{client, destination, location, noise, options, publish, server};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use unbloat_registry::{Category, Client, ClientOptions, Error, Keyring, Location, Registries};
use unbloat_registry_server::{Access, Authority, Options, Server};

#[expect(unsafe_code, reason = "settings come in variables")]
fn set(name: &str, value: &str) {
    // SAFETY: the only test of this process, between requests; an empty value counts as none.
    unsafe { std::env::set_var(name, value) };
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// A client as the command makes it.
fn from_files() -> Result<Client, Error> {
    let registries = Registries::from_environment()?;
    Client::checked(ClientOptions { registries, ..options() })
}

async fn read(client: &Client, name: &str) -> Result<String, Error> {
    let location: Location = name.parse()?;
    Ok(client.source(&location).await?.resolve().await?.descriptor.digest().to_string())
}

/// A SOCKS 5 proxy (RFC 1928) that leads every name to one server, and counts.
async fn socks(target: String) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (target, counted) = (target.clone(), Arc::clone(&counted));
            tokio::spawn(async move {
                let mut head = [0; 2];
                stream.read_exact(&mut head).await?;
                let mut methods = vec![0; usize::from(head[1])];
                stream.read_exact(&mut methods).await?;
                stream.write_all(&[5, 0]).await?;
                let mut request = [0; 5];
                stream.read_exact(&mut request).await?;
                let rest = match request[3] {
                    3 => usize::from(request[4]) + 2,
                    _ => 5,
                };
                let mut rest = vec![0; rest];
                stream.read_exact(&mut rest).await?;
                counted.fetch_add(1, Ordering::Relaxed);
                stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
                let mut there = TcpStream::connect(target).await?;
                copy_bidirectional(&mut stream, &mut there).await
            });
        }
    });
    (address, count)
}

/// An HTTP proxy that leads `CONNECT`s and requests with a whole URL to one server, and counts.
async fn http(target: String) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (target, counted) = (target.clone(), Arc::clone(&counted));
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await?);
                }
                counted.fetch_add(1, Ordering::Relaxed);
                let mut there = TcpStream::connect(target).await?;
                if head.starts_with(b"CONNECT ") {
                    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
                } else {
                    let text = String::from_utf8_lossy(&head).into_owned();
                    let path = text.replacen("http://reg.test:5000", "", 1);
                    there.write_all(path.as_bytes()).await?;
                }
                copy_bidirectional(&mut stream, &mut there).await
            });
        }
    });
    (address, count)
}

#[tokio::test]
async fn registries_conf_certs_d_and_proxies_are_what_users_have() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    set("HOME", &home.display().to_string());
    set("XDG_CONFIG_HOME", "");
    let plain = server().await;
    let digest =
        publish(&destination(&client(), &plain, "team/a:t").await, &[noise(1, 900_000)]).await.to_string();

    // certs.d of containers and of Docker, the client's certificate included.
    let authority = Authority::new().unwrap();
    for folder in [".config/containers/certs.d", ".config/docker/certs.d"] {
        let mut tls = unbloat_registry_server::Tls::from(authority.issue(&["127.0.0.1"]).unwrap());
        tls.client_authority = Some(authority.certificate());
        let secure =
            Server::start_beside(&plain, Options { tls: Some(tls), ..Options::default() }).await.unwrap();
        let name = format!("{}/team/a:t", secure.host());
        assert!(read(&from_files().unwrap(), &name).await.is_err());
        let me = authority.issue(&["me"]).unwrap();
        for (file, text) in [
            ("ca.crt", authority.certificate()),
            ("me.cert", me.certificate.clone()),
            ("me.key", me.key.clone()),
        ] {
            write(home, &format!("{folder}/{}/{file}", secure.host()), &text);
        }
        assert_eq!(read(&from_files().unwrap(), &name).await.unwrap(), digest, "{folder}");
    }

    // registries.conf: mirrors before the registry, elsewhere, blocked.
    let (empty, private) = (server().await, Access::Basic { username: "u".into(), password: "p".into() });
    let refusing =
        Server::start_beside(&plain, Options { access: private, ..Options::default() }).await.unwrap();
    let down = server().await.host();
    let conf = format!(
        "[[registry]]\nprefix = \"reg.example/group\"\nlocation = \"{empty}/nothing\"\n\
         [[registry.mirror]]\nlocation = \"{down}/team\"\n[[registry.mirror]]\nlocation = \"{refusing}/team\"\n\
         [[registry.mirror]]\nlocation = \"{mirror}/team\"\n\
         [[registry]]\nlocation = \"moved.example\"\n\
         [[registry]]\nprefix = \"blocked.example\"\nblocked = true\n",
        empty = empty.host(),
        refusing = refusing.host(),
        mirror = plain.host(),
    )
    .replace("location = \"moved.example\"", &format!("prefix = \"moved.example\"\nlocation = \"{}\"", plain.host()));
    write(home, ".config/containers/registries.conf", &conf);
    let known = from_files().unwrap();
    assert_eq!(read(&known, "reg.example/group/a:t").await.unwrap(), digest);
    assert_eq!(read(&known, "moved.example/team/a:t").await.unwrap(), digest);
    let blocked = read(&known, "blocked.example/team/a:t").await.unwrap_err();
    assert!(blocked.to_string().contains("blocks"), "{blocked}");
    // The whole image comes from the mirror, and a result goes to the registry itself.
    let target = server().await;
    let from = known.source(&"reg.example/group/a:t".parse().unwrap()).await.unwrap();
    unbloat_registry::copy(&from, &destination(&client(), &target, "x:t").await, &[]).await.unwrap();
    let to = known.destination(&"reg.example/group/b:t".parse().unwrap()).await.unwrap();
    publish(&to, &[noise(2, 1000)]).await;
    assert!(empty.tag("nothing/b", "t").is_some());
    write(home, ".config/containers/registries.conf.d/9.conf", "[[registry]]\nlocation = ");
    let broken = from_files().unwrap_err();
    assert!(broken.category() == Category::Io && broken.to_string().contains("9.conf"), "{broken}");
    std::fs::remove_file(home.join(".config/containers/registries.conf.d/9.conf")).unwrap();

    // Credentials in their places.
    let auth =
        |user: &str| format!(r#"{{"auths":{{"reg.example":{{"username":"{user}","password":"p"}}}}}}"#);
    write(home, ".docker/config.json", &auth("docker"));
    write(home, ".config/containers/auth.json", &auth("containers"));
    write(home, "run/containers/auth.json", &auth("runtime"));
    set("XDG_RUNTIME_DIR", &home.join("run").display().to_string());
    let found = Keyring::from_environment().unwrap();
    let found = found.lookup("reg.example", "x", options().timeouts.helper).await.unwrap();
    let names: Vec<String> = found
        .iter()
        .map(|credential| match credential {
            unbloat_registry::Credential::Basic { username, .. } => username.clone(),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(names, ["runtime", "containers", "docker"]);
    set("REGISTRY_AUTH_FILE", &home.join("none.json").display().to_string());
    let missing = Keyring::from_environment().unwrap_err();
    assert!(missing.category() == Category::Io && missing.to_string().contains("none.json"), "{missing}");
    set("REGISTRY_AUTH_FILE", "");

    // Proxies: a name that only they know, with TLS and without.
    let tls = Options { tls: Some(authority.issue(&["reg.test"]).unwrap().into()), ..Options::default() };
    let secure = Server::start_beside(&plain, tls).await.unwrap();
    write(home, ".config/containers/certs.d/reg.test:5000/ca.crt", &authority.certificate());
    let plainly = || {
        let registries = Registries::from_environment().unwrap().with_plain_http(["reg.test:5000"]);
        Client::new(ClientOptions { registries, ..options() })
    };
    for (kind, variable) in [("socks5h", "ALL_PROXY"), ("http", "HTTPS_PROXY"), ("http", "HTTP_PROXY")] {
        let unencrypted = variable == "HTTP_PROXY";
        let server = if unencrypted { plain.host() } else { secure.host() };
        let (address, count) = if kind == "http" { http(server).await } else { socks(server).await };
        set(variable, &format!("{kind}://{address}"));
        let client = if unencrypted { plainly() } else { from_files().unwrap() };
        assert_eq!(read(&client, "reg.test:5000/team/a:t").await.unwrap(), digest, "{variable}");
        assert!(count.load(Ordering::Relaxed) > 0, "{variable}");
        let asked = count.load(Ordering::Relaxed);
        assert_eq!(read(&client, &location(&plain, "team/a:t").to_string()).await.unwrap(), digest);
        assert_eq!(count.load(Ordering::Relaxed), asked, "loopback is no matter of a proxy");
        set(variable, "");
    }
    // TLS that is none names the option.
    let (address, _) = socks(plain.host()).await;
    set("ALL_PROXY", &format!("socks5h://{address}"));
    let error = read(&from_files().unwrap(), "reg.test:5000/team/a:t").await.unwrap_err();
    assert!(error.to_string().contains("--plain-http "), "{error}");
    assert!(!error.is_retryable());
    // Where registries.conf calls it insecure, plain HTTP will do, and a certificate that nobody knows.
    write(
        home,
        ".config/containers/registries.conf",
        "[[registry]]\nlocation = \"reg.test:5000\"\ninsecure = true\n",
    );
    assert_eq!(read(&from_files().unwrap(), "reg.test:5000/team/a:t").await.unwrap(), digest);
    std::fs::remove_dir_all(home.join(".config/containers/certs.d")).unwrap();
    let (address, _) = socks(secure.host()).await;
    set("ALL_PROXY", &format!("socks5h://{address}"));
    assert_eq!(read(&from_files().unwrap(), "reg.test:5000/team/a:t").await.unwrap(), digest);
}
