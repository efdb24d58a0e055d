//! What the log may hold.

use tracing_subscriber::EnvFilter;

/// The client's own words about answers that it can't read hold the answers: every tenant's objects.
const NO_BODIES: &str = "kube_client::client=error";

/// The filter of the log: `RUST_LOG`, or `info`, and never bodies of the API server's answers.
pub fn log_filter(asked: Option<&str>) -> EnvFilter {
    let filter =
        asked.and_then(|asked| EnvFilter::try_new(asked).ok()).unwrap_or_else(|| EnvFilter::new("info"));
    match NO_BODIES.parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => EnvFilter::new("off"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_level_shows_the_bodies_of_answers() {
        for asked in
            [None, Some("trace"), Some("kube_client=trace"), Some("kube_client::client=trace"), Some("=/=")]
        {
            let filter = log_filter(asked).to_string();
            assert!(filter.contains(NO_BODIES), "{asked:?}: {filter}");
            assert!(!filter.contains("kube_client::client=trace"), "{asked:?}: {filter}");
        }
    }
}
