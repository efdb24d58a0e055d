//! The options about registries, as a user gives them to the built command: whose credentials go where, what
//! is trusted, how blobs go up. Against Debian's docker-registry and distribution v3 where what they do is
//! the point, behind nginx where its TLS or its limit is, and against the servers of the tests where every
//! request has to be seen.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use unbloat_proof::{
    command::unbloat,
    image::{Layout, Packing, digest},
    proxy::Proxy,
    registry::{Flavour, Registry},
};
use unbloat_registry_server::{Access, Options, Quirk, Server};

const FLAVOURS: [Flavour; 2] = [Flavour::Debian, Flavour::DistributionV3];
/// Users with the lines of a htpasswd file for them (bcrypt of cost 5).
const READER: (&str, &str) = ("reader", "r-open-sesame");
const READER_LINE: &str = "reader:$2b$05$abcdefghijklmnopqrstuucHnm5RDhEYN5laB.2ZhH2mT4SAF10s.\n";
const WRITER: (&str, &str) = ("writer", "w-open-sesame");
const WRITER_LINE: &str = "writer:$2b$05$abcdefghijklmnopqrstuuIz4XlV9T2fPw50vXhN8AbqkTqxPuwDu\n";
/// An unencrypted registry that is not on this machine, by name; a proxy leads there.
const FAR: &str = "registry.example:5000";

/// Somebody's home folder, with nothing of this machine's user in it.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("below the home")).expect("a folder");
        fs::write(&path, text).expect("written");
        path.display().to_string()
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", self.0.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }

    /// Runs the command with these lines on its standard input.
    fn run(&self, arguments: &[&str], input: &str) -> Run {
        self.run_with(arguments, input, &[])
    }

    fn run_with(&self, arguments: &[&str], input: &str, variables: &[(&str, &str)]) -> Run {
        let mut command = self.command(&unbloat());
        command.args(arguments).envs(variables.iter().copied());
        Run::of(&mut command, arguments.join(" "), input)
    }
}

/// What a command left.
struct Run {
    what: String,
    output: Output,
}

impl Run {
    fn of(command: &mut Command, what: String, input: &str) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        // A command that needs no input may be over before this.
        let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
        Self { what, output: child.wait_with_output().expect("it ends") }
    }

    fn text(&self) -> String {
        let (stdout, stderr) = (&self.output.stdout, &self.output.stderr);
        format!("{}{}", String::from_utf8_lossy(stdout), String::from_utf8_lossy(stderr))
    }

    /// It ended with this exit code, and showed no password.
    fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.output.status.code(), Some(code), "{}: {}", self.what, self.text());
        for (_, password) in [READER, WRITER] {
            assert!(!self.text().contains(password), "{}: {}", self.what, self.text());
        }
        self
    }

    fn says(self, words: &str) -> Self {
        assert!(self.text().contains(words), "{}: no {words:?} in {}", self.what, self.text());
        self
    }
}

/// A layer with one file of bytes that do not compress.
fn layer(name: &str, seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut content = Vec::with_capacity(size + 8);
    while content.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend_from_slice(&state.to_le_bytes());
    }
    content.truncate(size);
    let mut tar = unbloat_layers::tar::simple_header(name.as_bytes(), b'0', 0o644, size as u64).to_vec();
    tar.extend_from_slice(&content);
    tar.resize(tar.len().next_multiple_of(512), 0);
    tar.extend_from_slice(&unbloat_layers::tar::TRAILER);
    tar
}

/// A layout with an image of three layers, the first of this many bytes; its reference.
fn image(home: &Home, size: usize) -> String {
    let layout = Layout::create(home.path("layout")).expect("a layout");
    let tars = [layer("base", 1, size), layer("data", 2, 30_000), layer("more", 3, 20_000)];
    layout.add("t", &tars, |_| Packing::Plain).expect("written");
    layout.reference("t")
}

fn basic(user: (&str, &str)) -> Access {
    Access::Basic { username: user.0.to_owned(), password: user.1.to_owned() }
}

fn token(user: (&str, &str)) -> Access {
    Access::Token {
        username: user.0.to_owned(),
        password: user.1.to_owned(),
        lifetime: Duration::from_secs(300),
        anonymous_pull: false,
    }
}

/// A file of credentials for one registry.
fn auth_file(home: &Home, name: &str, registry: &str, user: (&str, &str)) -> String {
    use base64::Engine as _;
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", user.0, user.1));
    home.write(name, &json!({"auths": {registry: {"auth": auth}}}).to_string())
}

/// Every way of giving each side its own user, with what goes to standard input.
fn ways_of_two_users(home: &Home, source: &str, target: &str) -> Vec<(Vec<String>, String)> {
    let words = |text: &[&str]| text.iter().map(ToString::to_string).collect::<Vec<_>>();
    let creds = |(name, password): (&str, &str)| format!("{name}:{password}");
    let two_lines = format!("{}\n{}\r\n", READER.1, WRITER.1);
    let (read, write) =
        (auth_file(home, "read.json", source, READER), auth_file(home, "write.json", target, WRITER));
    vec![
        (words(&["--src-username", READER.0, "--dest-username", WRITER.0, "--password-stdin"]), two_lines),
        (words(&["--src-creds", &creds(READER), "--dest-creds", &creds(WRITER)]), String::new()),
        (words(&["--src-authfile", &read, "--dest-authfile", &write]), String::new()),
        (
            words(&["--src-creds", &creds(READER), "--dest-username", WRITER.0, "--password-stdin"]),
            format!("{}\n", WRITER.1),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_side_gets_its_own_credentials_and_never_the_others() {
    let home = Home::new();
    let image = image(&home, 300_000);
    let plain = Server::start(Options::default()).await.expect("a server");
    let open = format!("{}/from/image:t", plain.host());
    home.run(&["copy", &image, &open], "").ends_with(0);
    home.run(&["copy", &image, &format!("{}/from/old:t", plain.host())], "").ends_with(0);
    for (reads, writes) in [(basic(READER), basic(WRITER)), (token(READER), token(WRITER))] {
        let from = Options { access: reads, ..Options::default() };
        let source = Server::start_beside(&plain, from).await.expect("a server");
        let target = Server::start(Options { access: writes, ..Options::default() }).await.expect("a server");
        let (src, old) = (format!("{}/from/image:t", source.host()), format!("{}/from/old:t", source.host()));
        for (number, (options, input)) in
            ways_of_two_users(&home, &source.host(), &target.host()).into_iter().enumerate()
        {
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            for command in ["copy", "squash", "remove", "rebase"] {
                let to = format!("{}/to/{command}:v{number}", target.host());
                let more: Vec<&str> = match command {
                    "remove" => vec!["data", &src, &to],
                    "rebase" => vec![&src, &to, "--old-base", &old, "--new-base", &old],
                    _ => vec![&src, &to],
                };
                let run = home.run(&[&[command], &more[..], &options[..]].concat(), &input);
                run.ends_with(0);
            }
            // Two images are compared with the same options, and the sides keep their order.
            let to = format!("{}/to/squash:v{number}", target.host());
            for command in ["verify", "analyze"] {
                home.run(&[&[command, &src, &to], &options[..]].concat(), &input).ends_with(0);
            }
        }
        assert!(source.requests_with(WRITER.1).is_empty(), "the writer's password at the source");
        assert!(target.requests_with(READER.1).is_empty(), "the reader's password at the target");
        // The users changed over get in nowhere.
        let to = format!("{}/to/squash:v0", target.host());
        for (options, input) in ways_of_two_users(&home, &source.host(), &target.host()) {
            let swapped: Vec<String> = options.iter().map(|option| swapped(option)).collect();
            let swapped: Vec<&str> = swapped.iter().map(String::as_str).collect();
            for command in ["verify", "analyze"] {
                home.run(&[&[command, &src, &to], &swapped[..]].concat(), &input).ends_with(4);
            }
        }
        for server in [&source, &target] {
            server.forget_requests();
        }
        // One password for both is the first one's that asks, and no other registry's.
        let to = format!("{}/to/one:t", target.host());
        let options = ["--username", READER.0, "--password-stdin"];
        home.run(&[&["copy", &src, &to], &options[..]].concat(), &format!("{}\n", READER.1)).ends_with(4);
        assert!(target.requests_with(READER.1).is_empty(), "an unbound password at a second registry");
        // A missing line, and an option for a place that is no registry, are mistakes of the call.
        home.run(&["copy", &src, &to, "--src-username", "x", "--password-stdin"], "").ends_with(2);
        home.run(&["copy", &image, &to, "--src-creds", "a:b"], "").ends_with(2).says("--src-");
        home.run(&["verify", &src, &image, "--dest-creds", "a:b"], "").ends_with(2).says("--dest-");
        home.run(&["analyze", &src, "--dest-creds", "a:b"], "").ends_with(2).says("--dest-");
    }
}

#[test]
fn real_registries_take_each_sides_user_and_refuse_anybody_else() {
    let home = Home::new();
    let image = image(&home, 300_000);
    for (from, to) in [(FLAVOURS[0], FLAVOURS[1]), (FLAVOURS[1], FLAVOURS[0])] {
        let source = Registry::start_for(from, READER_LINE).expect("a registry");
        let target = Registry::start_for(to, WRITER_LINE).expect("a registry");
        let creds = format!("{}:{}", READER.0, READER.1);
        let src = source.reference("from/image:t");
        home.run(&["copy", &image, &src], "").ends_with(4);
        home.run(&["copy", &image, &src, "--dest-creds", &creds], "").ends_with(0);
        let names = [source.reference(""), target.reference("")];
        let hosts = names.each_ref().map(|name| name.trim_end_matches('/'));
        let both = home.path("both.json").display().to_string();
        for (host, (name, password)) in [(hosts[0], READER), (hosts[1], WRITER)] {
            let login = ["login", host, "--username", name, "--password-stdin", "--authfile", &both];
            home.run(&login, &format!("{password}\n")).ends_with(0);
        }
        for (number, (options, input)) in ways_of_two_users(&home, hosts[0], hosts[1]).into_iter().enumerate()
        {
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            let dst = target.reference(&format!("to/image:v{number}"));
            home.run(&[&["squash", &src, &dst], &options[..]].concat(), &input).ends_with(0);
            home.run(&["verify", &src, &dst, "--authfile", &both], "").ends_with(0);
            // The users changed over get in nowhere.
            let swapped: Vec<String> = options.iter().map(|option| swapped(option)).collect();
            let swapped: Vec<&str> = swapped.iter().map(String::as_str).collect();
            home.run(&[&["squash", &src, &dst], &swapped[..]].concat(), &input).ends_with(4);
        }
    }
}

/// The same option for the other side.
fn swapped(option: &str) -> String {
    match (option.strip_prefix("--src-"), option.strip_prefix("--dest-")) {
        (Some(rest), _) => format!("--dest-{rest}"),
        (_, Some(rest)) => format!("--src-{rest}"),
        _ => option.to_owned(),
    }
}

#[test]
fn login_and_logout_decide_who_gets_into_a_real_registry() {
    for flavour in FLAVOURS {
        let home = Home::new();
        let image = image(&home, 1000);
        let registry = Registry::start_for(flavour, READER_LINE).expect("a registry");
        let name = registry.reference("");
        let host = name.trim_end_matches('/');
        let at = registry.reference("a/b:t");
        let config = home.path(".docker/config.json");
        home.write(
            ".docker/config.json",
            r#"{"auths": {"other.example": {"auth": "YTpi"}}, "psFormat": "x"}"#,
        );
        let before = fs::read(&config).expect("a file");
        let login = ["login", host, "--username", READER.0, "--password-stdin"];
        // What the registry refuses is not written.
        home.run(&login, "wrong\n").ends_with(4);
        home.run(&login, "").ends_with(2);
        home.run(&["login", host], "").ends_with(2).says("--password-stdin");
        assert_eq!(fs::read(&config).expect("a file"), before);
        home.run(&["copy", &image, &at], "").ends_with(4);
        home.run(&login, &format!("{}\n", READER.1)).ends_with(0).says("logged in");
        assert_eq!(fs::metadata(&config).expect("a file").permissions().mode() & 0o777, 0o600);
        let written: Value = serde_json::from_slice(&fs::read(&config).expect("a file")).expect("JSON");
        assert_eq!(
            (&written["psFormat"], &written["auths"]["other.example"]["auth"]),
            (&json!("x"), &json!("YTpi"))
        );
        home.run(&["copy", &image, &at], "").ends_with(0);
        home.run(&["tags", &registry.reference("a/b")], "").ends_with(0).says("t");
        home.run(&["logout", host], "").ends_with(0).says("logged out");
        home.run(&["logout", host], "").ends_with(0).says("no credentials");
        home.run(&["tags", &registry.reference("a/b")], "").ends_with(4);
        let written: Value = serde_json::from_slice(&fs::read(&config).expect("a file")).expect("JSON");
        assert_eq!(
            (&written["auths"][host], &written["auths"]["other.example"]["auth"]),
            (&Value::Null, &json!("YTpi"))
        );
        // A file that is named instead.
        let file = home.path("mine/auth.json").display().to_string();
        let named = [&login[..], &["--authfile", &file]].concat();
        home.run(&named, &format!("{}\n", READER.1)).ends_with(0);
        home.run(&["tags", &registry.reference("a/b"), "--authfile", &file], "").ends_with(0);
        home.run_with(&["tags", &registry.reference("a/b")], "", &[("REGISTRY_AUTH_FILE", &file)])
            .ends_with(0);
    }
}

/// A credential helper that keeps what it is given in files beside it, and writes down what it was asked.
const HELPER: &str = r#"#!/bin/sh
folder=$(dirname "$0")/store; mkdir -p "$folder"
input=$(cat)
echo "$1" >> "$folder/calls"
file() { echo "$folder/$(echo "$1" | tr '/:' '__')"; }
case "$1" in
  store) echo "$input" > "$(file "$(echo "$input" | sed 's/.*"ServerURL":"\([^"]*\)".*/\1/')")" ;;
  get) if [ -f "$(file "$input")" ]; then cat "$(file "$input")"; else echo "credentials not found in native keychain"; exit 1; fi ;;
  erase) rm -f "$(file "$input")" ;;
esac
"#;

#[test]
fn a_credential_store_keeps_what_login_gives_it() {
    let home = Home::new();
    let image = image(&home, 1000);
    let registry = Registry::start_for(Flavour::Debian, READER_LINE).expect("a registry");
    let name = registry.reference("");
    let host = name.trim_end_matches('/');
    let helper = home.write("bin/docker-credential-proof", HELPER);
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).expect("made executable");
    let path = format!("{}:{}", home.path("bin").display(), std::env::var("PATH").unwrap_or_default());
    let calls = || fs::read_to_string(home.path("bin/store/calls")).unwrap_or_default();
    for settings in [json!({"credsStore": "proof"}), json!({"credHelpers": {host: "proof"}})] {
        home.write(".docker/config.json", &settings.to_string());
        let _ = fs::remove_dir_all(home.path("bin/store"));
        let run = |arguments: &[&str], input: &str| home.run_with(arguments, input, &[("PATH", &path)]);
        run(&["copy", &image, &registry.reference("a/b:t")], "").ends_with(4);
        let input = format!("{}\n", READER.1);
        run(&["login", host, "--username", READER.0, "--password-stdin"], &input).ends_with(0);
        assert!(calls().contains("store"), "{}", calls());
        let file = fs::read_to_string(home.path(".docker/config.json")).expect("a file");
        use base64::Engine as _;
        let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", READER.0, READER.1));
        assert!(!file.contains(READER.1) && !file.contains(&encoded), "{file}");
        run(&["copy", &image, &registry.reference("a/b:t")], "").ends_with(0);
        // A helper is run only where it is needed.
        let before = calls();
        let creds = format!("{}:{}", READER.0, READER.1);
        run(&["copy", &image, &registry.reference("a/c:t"), "--dest-creds", &creds], "").ends_with(0);
        assert_eq!(calls(), before);
        run(&["logout", host], "").ends_with(0);
        assert!(calls().contains("erase"), "{}", calls());
        run(&["tags", &registry.reference("a/b")], "").ends_with(4);
    }
}

/// A credential provider plugin of kubelet's: it writes down the images that it was asked about, and gives a
/// password that is out of date at first.
const PLUGIN: &str = r#"#!/bin/sh
folder=$(dirname "$0")
grep -o '"image":"[^"]*"' >> "$folder/asked"
echo "as the role of $ROLE" >&2
password=$([ "$(wc -l < "$folder/asked")" = 1 ] && echo of-yesterday || cat "$folder/password")
cat <<END
{"kind": "CredentialProviderResponse", "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
 "cacheKeyType": "Registry", "cacheDuration": "12h", "auth": {"127.0.*.1:$1": {"username": "reader", "password": "$password"}}}
END
"#;

/// kubelet's file with one plugin.
fn provider_config(name: &str, registry: &str, port: &str) -> String {
    format!(
        "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n- name: {name}\n  \
         matchImages: [{registry}/team]\n  defaultCacheDuration: 1h\n  args: ['{port}']\n  \
         env: [{{name: ROLE, value: the-node}}]\n  apiVersion: credentialprovider.kubelet.k8s.io/v1\n"
    )
}

#[test]
fn kubelets_plugins_know_who_may_read_and_write_at_real_registries() {
    for flavour in FLAVOURS {
        let home = Home::new();
        let image = image(&home, 1000);
        let registry = Registry::start_for(flavour, READER_LINE).expect("a registry");
        let name = registry.reference("");
        let host = name.trim_end_matches('/');
        let port = host.rsplit_once(':').expect("a port").1;
        let program = home.write("bin/node-provider", PLUGIN);
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("made executable");
        home.write("bin/password", READER.1);
        let bin = home.path("bin").display().to_string();
        let config = home.write("provider.yaml", &provider_config("node-provider", host, port));
        let options =
            ["--image-credential-provider-config", &config, "--image-credential-provider-bin-dir", &bin];
        let asked = || fs::read_to_string(home.path("bin/asked")).unwrap_or_default();
        let to = |name: &str| registry.reference(name);
        // What it says is shown, but not what it answers.
        let run = home.run(&[&["copy", &image, &to("team/a:t")], &options[..]].concat(), "").ends_with(0);
        let run = run.says("node-provider says: as the role of the-node");
        assert!(!run.text().contains("of-yesterday"), "{}", run.text());
        assert_eq!(
            asked(),
            format!("\"image\":\"{host}/team/a\"\n").repeat(2),
            "the first answer had expired"
        );
        // The variables say the same, and every command takes them.
        let variables = [
            ("UNBLOAT_IMAGE_CREDENTIAL_PROVIDER_CONFIG", config.as_str()),
            ("UNBLOAT_IMAGE_CREDENTIAL_PROVIDER_BIN_DIR", bin.as_str()),
        ];
        let (from, flat) = (to("team/a:t"), to("team/b:flat"));
        for arguments in [
            &["squash", &from, &flat][..],
            &["verify", &from, &flat],
            &["tags", &to("team/a")],
            &["analyze", &from],
            &["history", &from],
        ] {
            home.run_with(arguments, "", &variables).ends_with(0);
            home.run(arguments, "").ends_with(4);
        }
        // Images that the file does not name, and whoever is known otherwise, need no plugin.
        let before = asked();
        home.run_with(&["tags", &to("other/a")], "", &variables).ends_with(4);
        let creds = format!("{}:{}", READER.0, READER.1);
        let by_hand = ["copy", &image, &to("team/c:t"), "--dest-creds", &creds];
        home.run_with(&by_hand, "", &variables).ends_with(0);
        assert_eq!(asked(), before);
        // One that is not there, or fails, is told and passed over.
        let there = auth_file(&home, "auth.json", host, READER);
        let tags = to("team/a");
        for (name, body, words) in [
            ("missing-provider", None, "missing-provider is not installed"),
            ("failing-provider", Some("#!/bin/sh\necho 'no role' >&2; exit 3\n"), "no role"),
        ] {
            if let Some(body) = body {
                let program = home.write(&format!("bin/{name}"), body);
                fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("made executable");
            }
            let config = home.write("other.yaml", &provider_config(name, host, port));
            let options =
                ["--image-credential-provider-config", &config, "--image-credential-provider-bin-dir", &bin];
            home.run(&[&["tags", &tags], &options[..]].concat(), "").ends_with(4).says(words);
            let run = home.run(&[&["tags", &tags, "--authfile", &there], &options[..]].concat(), "");
            assert!(!run.ends_with(0).text().contains(name), "it was run without need");
        }
        // One option without the other is a mistake, and so is a file that is none of kubelet's.
        home.run(&[&["tags", &tags], &options[..2]].concat(), "").ends_with(2);
        home.run(&[&["tags", &tags], &options[2..]].concat(), "").ends_with(2);
        home.run_with(&["tags", &tags], "", &variables[..1]).ends_with(2);
        let secret = format!("env: [{}]\n", READER.1);
        for text in [secret.as_str(), "kind: Pod\napiVersion: v1\n"] {
            home.write("provider.yaml", text);
            home.run_with(&["tags", &tags], "", &variables).ends_with(9).says("provider.yaml");
        }
    }
}

#[test]
fn each_side_trusts_what_was_named_for_it() {
    let home = Home::new();
    let image = image(&home, 300_000);
    let registries = FLAVOURS.map(|flavour| Registry::start(flavour).expect("a registry"));
    let proxies = registries.each_ref().map(|registry| Proxy::start(registry, "0").expect("nginx"));
    let [source, target] = &proxies;
    let authorities = proxies.each_ref().map(|proxy| proxy.authority().display().to_string());
    let [first, second] = &authorities;
    for (name, file) in [("first", first), ("second", second)] {
        let folder = home.path(name);
        fs::create_dir_all(&folder).expect("a folder");
        fs::copy(file, folder.join("ca.crt")).expect("copied");
    }
    let (one, two) = (home.path("first").display().to_string(), home.path("second").display().to_string());
    let (src, dst) = (source.reference("from/image:t"), target.reference("to/image:t"));
    home.run(&["copy", &image, &src, "--ca-file", first], "").ends_with(0);
    let works: [&[&str]; 6] = [
        &["--ca-file", first, "--ca-file", second],
        &["--src-ca-file", first, "--dest-ca-file", second],
        &["--src-cert-dir", &one, "--dest-cert-dir", &two],
        &["--src-insecure-skip-tls-verify", "--dest-ca-file", second],
        &["--src-ca-file", first, "--dest-insecure-skip-tls-verify"],
        &["--insecure-skip-tls-verify"],
    ];
    for options in works {
        for command in ["copy", "squash", "verify", "analyze"] {
            home.run(&[&[command, &src, &dst], options].concat(), "").ends_with(0);
        }
    }
    let fails: [&[&str]; 6] = [
        &[],
        &["--src-ca-file", first],
        &["--dest-ca-file", second],
        &["--src-ca-file", second, "--dest-ca-file", first],
        &["--src-insecure-skip-tls-verify"],
        &["--dest-insecure-skip-tls-verify"],
    ];
    for options in fails {
        let run = home.run(&[&["copy", &src, &dst, "-v"], options].concat(), "").ends_with(5);
        let run = run.says("certificate is not trusted").says("--ca-file");
        assert!(!run.text().contains('\u{1b}'), "colours in a file: {}", run.text());
        for command in ["verify", "analyze"] {
            home.run(&[&[command, &src, &dst], options].concat(), "").ends_with(5);
        }
    }
    // A folder of this user's for the host works without an option.
    let host = src.split('/').next().expect("a host");
    let place = format!(".config/containers/certs.d/{host}/ca.crt");
    home.write(&place, &fs::read_to_string(first).expect("a file"));
    home.run(&["tags", &source.reference("from/image")], "").ends_with(0).says("t");
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_is_spoken_to_the_host_that_was_named_and_to_no_other() {
    let home = Home::new();
    let image = image(&home, 1000);
    let server =
        Server::start(Options { access: basic(READER), ..Options::default() }).await.expect("a server");
    // Leads every name to the server; what is encrypted it cannot lead anywhere.
    let proxy = format!("http://{}", server.host());
    let variables = [("HTTP_PROXY", proxy.as_str()), ("HTTPS_PROXY", proxy.as_str())];
    let creds = format!("{}:{}", READER.0, READER.1);
    let at = format!("{FAR}/a/b:t");
    let run = |arguments: &[&str]| home.run_with(arguments, "", &variables);
    run(&["copy", &image, &at, "--dest-creds", &creds, "--plain-http", FAR]).ends_with(0);
    run(&["copy", &image, &at, "--dest-creds", &creds, "--dest-plain-http"]).ends_with(0);
    assert!(!server.requests_with(READER.1).is_empty());
    server.forget_requests();
    // Said of others, or of the other side, it is not said of this one: not a byte goes out unencrypted.
    let source = format!("{FAR}/a/b:t");
    for options in [
        &["--plain-http", "registry.example"][..],
        &["--plain-http", "other.example:5000"],
        &["--plain-http", "registry.example:5001"],
        &[],
    ] {
        let more = ["copy", &source, "oci:nowhere", "--src-creds", &creds];
        let run = run(&[&more[..], options].concat());
        assert_eq!(run.output.status.code(), Some(5), "{options:?}: {}", run.text());
    }
    let other = "other.example:5000/a/b:t";
    let more = ["copy", &source, other, "--src-creds", &creds, "--dest-creds", "a:b", "--dest-plain-http"];
    assert_eq!(run(&more).output.status.code(), Some(5));
    for command in ["verify", "analyze"] {
        let more =
            [command, &source, other, "--src-creds", &creds, "--dest-creds", "a:b", "--dest-plain-http"];
        assert_eq!(run(&more).output.status.code(), Some(5), "{command}");
    }
    assert!(server.requests_with(READER.1).is_empty(), "a password without encryption");
    assert!(
        server.requests().iter().all(|request| request.method.as_str() == "CONNECT"),
        "{:?}",
        server.requests()
    );
    for command in ["verify", "analyze"] {
        let options =
            ["--src-plain-http", "--dest-plain-http", "--src-creds", &creds, "--dest-creds", &creds];
        run(&[&[command, &source, other], &options[..]].concat()).ends_with(0);
    }
}

#[test]
fn the_way_and_the_chunk_of_an_upload_are_those_that_were_asked_for() {
    let home = Home::new();
    let image = image(&home, 20 << 20);
    for flavour in FLAVOURS {
        let registry = Registry::start(flavour).expect("a registry");
        let patches = |since: usize| {
            let log = registry.log().expect("a log");
            log[since..].lines().filter(|line| line.contains("\"PATCH /v2/")).count()
        };
        // 20 MiB and a header: the last chunk is a small one. Two small layers and a config go by a PATCH
        // each where that was asked for.
        for (number, (options, expected)) in [
            (&["--upload", "chunked", "--chunk-size", "8MiB"][..], 3 + 3),
            (&["--upload", "chunked", "--chunk-size", "5MiB"], 5 + 3),
            (&["--upload", "auto", "--chunk-size", "16MiB"], 2),
            (&["--upload", "stream"], 1 + 3),
            (&["--upload", "whole"], 0),
        ]
        .into_iter()
        .enumerate()
        {
            let since = registry.log().expect("a log").len();
            let to = registry.reference(&format!("ways/v{number}:t"));
            home.run(&[&["copy", &image, &to], options].concat(), "").ends_with(0);
            assert_eq!(patches(since), expected, "{flavour:?} {options:?}");
            let flat = registry.reference(&format!("flat/v{number}:t"));
            let scratch = home.0.path().display().to_string();
            let more = ["squash", &to, &flat, "--compression", "none", "--scratch", &scratch];
            home.run(&[&more, options].concat(), "").ends_with(0);
            home.run(&["verify", &to, &flat], "").ends_with(0);
        }
        home.run(&["copy", &image, &registry.reference("x:t"), "--chunk-size", "1KiB"], "").ends_with(2);
        home.run(&["copy", &image, &registry.reference("x:t"), "--chunk-size", "65MiB"], "").ends_with(2);
    }
}

#[test]
fn a_limit_of_nginx_is_kept_to_or_named() {
    let home = Home::new();
    let image = image(&home, 20 << 20);
    for flavour in FLAVOURS {
        let registry = Registry::start(flavour).expect("a registry");
        let proxy = Proxy::start(&registry, "3m").expect("nginx");
        let authority = proxy.authority().display().to_string();
        let to = proxy.reference("limit/image:t");
        let trust = ["--ca-file", authority.as_str()];
        for way in ["whole", "stream"] {
            let run = home.run(&[&["copy", &image, &to, "--upload", way], &trust[..]].concat(), "");
            run.ends_with(5).says("client_max_body_size");
        }
        home.run(&[&["copy", &image, &to], &trust[..]].concat(), "").ends_with(0);
        let flat = proxy.reference("limit/flat:t");
        let more = ["squash", &to, &flat, "--compression", "none"];
        home.run(&[&more, &trust[..]].concat(), "").ends_with(0);
        home.run(&[&["verify", &to, &flat], &trust[..]].concat(), "").ends_with(0);
        assert!(proxy.log().expect("a log").contains(" 413 "), "the limit was met");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_of_chunks_of_known_registries_are_kept_from_the_first_one() {
    let home = Home::new();
    let image = image(&home, 20 << 20);
    let amazon = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
    for (host, quirks, chunk) in [
        // GitHub refuses more than 4 MiB with 416; Amazon what follows a chunk below 5 MiB.
        ("ghcr.io", vec![Quirk::BodyLimit(4 << 20, 416)], "8MiB"),
        (amazon, vec![Quirk::LeastChunk(5 << 20, 400), Quirk::RefuseStreams(405)], "1MiB"),
    ] {
        let server = Server::start(Options { quirks, ..Options::default() }).await.expect("a server");
        let proxy = format!("http://{}", server.host());
        let to = format!("{host}/a/b:t");
        let copy =
            ["copy", &image, &to, "--plain-http", host, "--chunk-size", chunk, "--cloud-identity", "none"];
        home.run_with(&copy, "", &[("HTTP_PROXY", &proxy)]).ends_with(0);
        let refused: Vec<u16> = server
            .requests()
            .iter()
            .map(|request| request.status)
            .filter(|status| matches!(status, 400 | 405 | 416))
            .collect();
        assert!(refused.is_empty(), "{host}: {refused:?}");
        assert!(server.tag("a/b", "t").is_some());
        assert_eq!(server.open_uploads(), 0);
    }
}

/// Attaches a signature to the image of a layout, whose subject it names; its digest.
fn sign(layout: &Layout, image: &str) -> String {
    let manifest = layout.path_of(image).expect("a digest");
    let size = fs::metadata(manifest).expect("a manifest").len();
    let empty = layout.blob(b"{}", "application/vnd.oci.empty.v1+json").expect("written");
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let signature = json!({
        "schemaVersion": 2, "mediaType": kind, "artifactType": "application/vnd.proof.signature",
        "config": empty, "layers": [layout.blob(b"signed", "application/octet-stream").expect("written")],
        "subject": {"mediaType": kind, "digest": image, "size": size},
    });
    layout.tag("signature", &serde_json::to_vec(&signature).expect("JSON")).expect("written")
}

#[tokio::test(flavor = "multi_thread")]
async fn referrers_go_along_to_registries_with_and_without_their_api_and_back() {
    let home = Home::new();
    let image = image(&home, 300_000);
    let layout = Layout::open(home.path("layout"));
    let digest_of_image = layout.resolve("t").expect("an image");
    let signature = sign(&layout, &digest_of_image);
    let bytes = fs::read(layout.path_of(&signature).expect("a digest")).expect("a manifest");
    assert_eq!(digest(&bytes), signature);
    let with_api = Server::start(Options::default()).await.expect("a server");
    let paged = Server::start(Options { quirks: vec![Quirk::ReferrerPages(1)], ..Options::default() })
        .await
        .expect("a server");
    let real = FLAVOURS.map(|flavour| Registry::start(flavour).expect("a registry"));
    let back = Server::start(Options::default()).await.expect("a server");
    let places = [
        image,
        format!("{}/a/b:t", with_api.host()),
        real[0].reference("a/b:t"),
        real[1].reference("a/b:t"),
        format!("{}/a/b:t", paged.host()),
        format!("{}/a/b:t", back.host()),
    ];
    for pair in places.windows(2) {
        home.run(&["copy", &pair[0], &pair[1], "--referrers"], "").ends_with(0);
    }
    for server in [&with_api, &paged, &back] {
        let signature = signature.parse().expect("a digest");
        assert!(server.manifest("a/b", &signature).is_some(), "the signature is not at {}", server.host());
        assert_eq!(server.tag("a/b", "t").expect("the image").to_string(), digest_of_image);
    }
    let alone = Server::start(Options::default()).await.expect("a server");
    home.run(&["copy", &places[1], &format!("{}/a/b:t", alone.host())], "").ends_with(0);
    assert_eq!(alone.manifest_count("a/b"), 1);
}

/// The command that an output ends with, its lines joined.
fn suggested(output: &str) -> String {
    let from = output.find("unbloat squash ").unwrap_or_else(|| panic!("no command in {output}"));
    let mut command = String::new();
    for line in output[from..].lines() {
        match line.trim().strip_suffix('\\') {
            Some(more) => command.push_str(more),
            None => {
                command.push_str(line.trim());
                break;
            }
        }
    }
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_that_an_analysis_suggests_runs_as_it_stands() {
    let home = Home::new();
    let layout = Layout::create(home.path("bloated")).expect("a layout");
    // Two thirds of it are written over.
    let tars: Vec<Vec<u8>> = (1..4).map(|seed| layer("var/lib/data", seed, 2 << 20)).collect();
    layout.add("t", &tars, |_| Packing::Plain).expect("written");
    let server = Server::start(Options::default()).await.expect("a server");
    let proxy = format!("http://{}", server.host());
    let path = format!(
        "{}:{}",
        unbloat().parent().expect("a folder").display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let variables = [("HTTP_PROXY", proxy.as_str()), ("PATH", path.as_str())];
    let (at, folder) = (format!("{FAR}/a/b:t"), layout.reference("t"));
    home.run_with(&["copy", &folder, &at, "--plain-http", FAR], "", &variables).ends_with(0);
    for (options, repeated) in [
        (&["--plain-http", FAR][..], "--plain-http=registry.example:5000"),
        (&["--src-plain-http"], "--src-plain-http"),
    ] {
        let analysis = home.run_with(&[&["analyze", &at], options].concat(), "", &variables).ends_with(0);
        let command = suggested(&String::from_utf8_lossy(&analysis.output.stdout));
        assert!(command.contains(repeated), "{command}");
        let mut shell = home.command(Path::new("/bin/sh"));
        shell.args(["-c", &command]).envs(variables);
        Run::of(&mut shell, command, "").ends_with(0);
    }
    let flat = format!("{FAR}/a/b:t-flat");
    home.run_with(&["verify", &at, &flat, "--plain-http", FAR], "", &variables).ends_with(0);
}

/// A proxy that leads every encrypted connection to this address, whatever its name.
fn tunnel(to: std::net::SocketAddr) -> String {
    use std::io::Read as _;
    use std::net::{TcpListener, TcpStream};
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut server) =
                (client.expect("a client"), TcpStream::connect(to).expect("the server"));
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if client.read(&mut byte).unwrap_or(0) == 0 {
                    break;
                }
                head.push(byte[0]);
            }
            let _ = client.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            let (mut back, mut forth) =
                (server.try_clone().expect("a socket"), client.try_clone().expect("a socket"));
            std::thread::spawn(move || std::io::copy(&mut back, &mut forth));
            std::thread::spawn(move || std::io::copy(&mut client, &mut server));
        }
    });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_option_that_an_error_suggests_for_plain_http_is_the_one_that_helps() {
    let home = Home::new();
    let image = image(&home, 1000);
    let server = Server::start(Options::default()).await.expect("a server");
    home.run(&["copy", &image, &format!("{}/a/b:t", server.host())], "").ends_with(0);
    let (tunnel, proxy) = (tunnel(server.address()), format!("http://{}", server.host()));
    let variables = [("HTTPS_PROXY", tunnel.as_str()), ("HTTP_PROXY", proxy.as_str())];
    let run =
        |more: &[&str]| home.run_with(&[&["tags", &format!("{FAR}/a/b")], more].concat(), "", &variables);
    let error = run(&[]).ends_with(5).says("does not speak TLS").text();
    let option = error.split_once("say ").expect("it says something").1;
    let option: Vec<&str> = option.split(';').next().expect("words").split(' ').collect();
    assert_eq!(option, ["--plain-http", FAR]);
    run(&option).ends_with(0).says("t");
}
