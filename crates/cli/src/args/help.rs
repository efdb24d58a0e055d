//! What follows the options in each command's help and manual page: examples, environment, exit codes.

use unbloat_contract::exit;

/// The part of a command that reads or writes images.
pub(crate) fn images(examples: &[&str]) -> String {
    text(examples, IMAGES)
}

/// The part of a command that speaks to a cluster.
pub(crate) fn cluster(examples: &[&str]) -> String {
    text(examples, CLUSTER)
}

/// The part of a command that needs neither.
pub(crate) fn local(examples: &[&str]) -> String {
    text(examples, LOCAL)
}

const IMAGES: &str = "\
  DOCKER_CONFIG        folder of Docker's config.json with credentials and helpers
  REGISTRY_AUTH_FILE   containers' auth.json, where it is not in its usual place
  HTTPS_PROXY, HTTP_PROXY, NO_PROXY   proxies, and hosts that are reached without
  TMPDIR               folder for scratch files, where --scratch is not given
  UNBLOAT_LOG          what is logged on standard error, as debug or unbloat_registry=trace
  NO_COLOR             no colours";

const CLUSTER: &str = "\
  KUBECONFIG           the kubeconfig, where --kubeconfig is not given
  HTTPS_PROXY, HTTP_PROXY, NO_PROXY   proxies, and hosts that are reached without
  UNBLOAT_LOG          what is logged on standard error, as debug or kube=trace";

const LOCAL: &str = "\
  UNBLOAT_LOG          what is logged on standard error, as debug";

fn text(examples: &[&str], environment: &str) -> String {
    let examples: Vec<String> = examples.iter().map(|example| format!("\n  {example}")).collect();
    format!("Examples:{}\n\nEnvironment:\n{environment}\n\n{}", examples.concat(), exit::table())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use crate::args::Cli;

    #[test]
    fn every_command_shows_two_examples_that_parse_its_environment_and_its_exit_codes() {
        let mut command = Cli::command();
        command.build();
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
            let name = sub.get_name();
            let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples: Vec<&str> = help
                .lines()
                .map_while(|line| (!line.is_empty()).then_some(line))
                .skip(1)
                .map(str::trim)
                .collect();
            assert!(examples.len() >= 2, "{name}: {help}");
            for example in examples {
                let words =
                    example.split(" > ").next().unwrap_or(example).split('|').next_back().unwrap_or(example);
                let words = words.split_whitespace().map(|word| word.trim_matches('\''));
                let words: Vec<&str> = words.skip_while(|word| *word != "unbloat").collect();
                assert!(Cli::command().try_get_matches_from(&words).is_ok(), "{name}: {example}");
                assert_eq!(words.get(1), Some(&name), "{example}");
            }
            assert!(help.contains("UNBLOAT_LOG") && help.contains("Exit codes:"), "{name}");
        }
    }
}
