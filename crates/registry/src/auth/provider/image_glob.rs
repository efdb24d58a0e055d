//! Which images a plugin or an answer of it is for, by kubelet's own rule.

use crate::auth::pattern::glob_label;

/// `HOST[:PORT][/PATH]`, where a `*` in a label of the host stands for any part of that label.
///
/// An image matches if its port is the same, its host has as many labels and each matches, and its path
/// begins with this one's: a prefix of the text, not of whole components, as kubelet compares it
/// (`URLsMatch` in kubernetes' `pkg/credentialprovider/keyring.go`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ImageGlob {
    host: String,
    port: String,
    /// With its leading `/`, or empty.
    path: String,
}

impl ImageGlob {
    /// `None` if there is no host.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (authority, path) = match text.find('/') {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        let (host, port) = split_port(authority);
        let is_host = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c.is_control());
        is_host.then(|| Self {
            host: host.to_ascii_lowercase(),
            port: port.to_owned(),
            path: path.to_owned(),
        })
    }

    /// The key of an answer's entry. It may be a URL, as in Docker's configuration, and may call Docker Hub
    /// by its other names.
    pub(super) fn parse_key(text: &str) -> Option<Self> {
        let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
        let mut glob = Self::parse(bare)?;
        if matches!(glob.host.as_str(), "index.docker.io" | "registry-1.docker.io") {
            "docker.io".clone_into(&mut glob.host);
        }
        if let Some(rest) = ["/v1/", "/v2/"].iter().find_map(|start| glob.path.strip_prefix(start)) {
            glob.path = format!("/{rest}");
        }
        if glob.path == "/" {
            glob.path.clear();
        }
        Some(glob)
    }

    /// Whether an image, `HOST[:PORT]/REPOSITORY`, is one of these.
    pub(super) fn matches(&self, image: &str) -> bool {
        let Some(image) = Self::parse(image) else { return false };
        let (patterns, labels) = (self.host.split('.'), image.host.split('.'));
        self.port == image.port
            && image.path.starts_with(&self.path)
            && patterns.clone().count() == labels.clone().count()
            && patterns.zip(labels).all(|(pattern, label)| glob_label(pattern, label))
    }
}

/// The host and the port behind it; the colons of an IPv6 address are none.
fn split_port(authority: &str) -> (&str, &str) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') && (host.ends_with(']') || !host.contains(':')) => {
            (host, port)
        }
        _ => (authority, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_matches_as_kubelet_says() {
        for (glob, image, expected) in [
            ("*.example", "reg.example/a", true),
            ("reg.*.io", "reg.example.io/a", true),
            ("reg.example.*", "reg.example.io/a", true),
            ("*-good.example", "very-good.example/a", true),
            ("a*b*c.example", "a1b2c.example/a", true),
            ("a*b*c.example", "a1c2b.example/a", false),
            // A label is one label, and all of them count.
            ("*.io", "reg.example.io/a", false),
            ("*.example.io", "example.io/a", false),
            ("*.*.example", "a.b.example/x", true),
            ("*.*.example", "a.example/x", false),
            ("*example.io", "reg.example.io/a", false),
            ("*example.io", "myexample.io/a", true),
            ("example.io", "example.com/a", false),
            ("k*.io", "quay.io/a", false),
            ("app*.example", "app1.example/a", true),
            // The path is a prefix of the text; there is no star in it.
            ("reg.example/team", "reg.example/team", true),
            ("reg.example/team", "reg.example/team/app", true),
            ("reg.example/team", "reg.example/team-other/app", true),
            ("reg.example/team/", "reg.example/team-other/app", false),
            ("reg.example/team", "reg.example/other", false),
            ("reg.example/*", "reg.example/team", false),
            ("reg.example/team", "reg.example", false),
            // The port is a part of the name; there is no star in it either.
            ("reg.example:5000/a", "reg.example:5000/a/b", true),
            ("reg.example:5000", "reg.example/a", false),
            ("reg.example", "reg.example:5000/a", false),
            ("reg.example:*", "reg.example:5000/a", false),
            ("127.0.0.1:5000", "127.0.0.1:5000/a", true),
            ("127.0.0.*:5000", "127.0.0.9:5000/a", true),
            ("[::1]:5000", "[::1]:5000/a", true),
            ("[::1]", "[::1]:5000/a", false),
            ("Reg.Example", "reg.example/a", true),
            // As kubelet: the name in references alone.
            ("docker.io", "docker.io/library/debian", true),
            ("index.docker.io", "docker.io/library/debian", false),
        ] {
            let parsed = ImageGlob::parse(glob).expect("a glob");
            assert_eq!(parsed.matches(image), expected, "{glob} {image}");
        }
        for text in ["", "/path", ":5000", "a b.example", "\n"] {
            assert_eq!(ImageGlob::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_key_may_be_a_url_and_call_docker_hub_by_any_name() {
        for (key, image, expected) in [
            ("https://reg.example/v2/", "reg.example/a", true),
            ("http://reg.example", "reg.example/a", true),
            ("https://reg.example/v2/team", "reg.example/team/app", true),
            ("https://reg.example/v2/team", "reg.example/other", false),
            ("https://index.docker.io/v1/", "docker.io/library/debian", true),
            ("registry-1.docker.io", "docker.io/library/debian", true),
            ("*.docker.io", "docker.io/library/debian", false),
        ] {
            let parsed = ImageGlob::parse_key(key).expect("a key");
            assert_eq!(parsed.matches(image), expected, "{key} {image}");
        }
    }
}
