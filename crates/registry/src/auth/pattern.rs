//! Which registry and repository an entry is for.

/// `HOST[:PORT][/PATH]`; a label of the host may be or hold `*`. No host means every host (Docker's
/// `credsStore`).
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    host: Option<String>,
    path: String,
}

impl Pattern {
    pub(crate) fn everywhere() -> Self {
        Self { host: None, path: String::new() }
    }

    pub(crate) fn parse(text: &str) -> Self {
        let text = text.trim();
        let text = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
        let (host, path) = text.split_once('/').unwrap_or((text, ""));
        let host = match host {
            "index.docker.io" | "registry-1.docker.io" => "docker.io",
            other => other,
        };
        let path = path.trim_matches('/');
        // `https://HOST/v1/` is how Docker wrote a whole registry.
        let path = if matches!(path, "v1" | "v2") { "" } else { path };
        Self { host: Some(host.to_ascii_lowercase()), path: path.to_owned() }
    }

    /// How specific the match is: a longer path first, then a literal host before one with `*`, then
    /// `credsStore`.
    pub(crate) fn score(&self, registry: &str, repository: &str) -> Option<usize> {
        let Some(host) = &self.host else { return Some(0) };
        let registry = registry.to_ascii_lowercase();
        let literal = *host == registry;
        if !literal && !glob_host(host, &registry) {
            return None;
        }
        let rest = repository.strip_prefix(self.path.as_str())?;
        if !self.path.is_empty() && !rest.is_empty() && !rest.starts_with('/') {
            return None;
        }
        Some(1 + 2 * self.path.len() + usize::from(literal))
    }
}

/// kubelet's rule: as many labels on both sides, each matched alone; the port has to be equal.
pub(crate) fn glob_host(pattern: &str, host: &str) -> bool {
    if !pattern.contains('*') {
        return false;
    }
    let split = |text: &str| match text.rsplit_once(':') {
        Some((name, port)) => (name.to_owned(), port.to_owned()),
        None => (text.to_owned(), String::new()),
    };
    let ((pattern, pattern_port), (host, port)) = (split(pattern), split(host));
    let (patterns, labels): (Vec<&str>, Vec<&str>) =
        (pattern.split('.').collect(), host.split('.').collect());
    pattern_port == port
        && patterns.len() == labels.len()
        && patterns.iter().zip(&labels).all(|(pattern, label)| glob_label(pattern, label))
}

/// Whether a label matches a pattern in which `*` stands for any part of it.
pub(crate) fn glob_label(pattern: &str, label: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == label };
    let Some(mut tail) = label.strip_prefix(first) else { return false };
    let parts: Vec<&str> = rest.split('*').collect();
    let (last, middle) = parts.split_last().expect("split gives at least one part");
    for part in middle {
        match tail.find(part) {
            Some(at) => tail = &tail[at + part.len()..],
            None => return false,
        }
    }
    tail.ends_with(last)
}
