//! What follows the options in each command's help and manual page: examples, environment, exit codes.

use unbloat_contract::exit;

/// The part of a command that reads or writes images.
pub(crate) fn images(examples: &[&str]) -> String {
    text(examples, IMAGES)
}

/// The part of a command that speaks to a cluster.
#[cfg(feature = "cluster")]
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

#[cfg(feature = "cluster")]
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
    use clap::{Command, CommandFactory};

    use crate::args::Cli;

    /// Options that may stand without a heading.
    const MOST_UNGROUPED: usize = 6;
    /// A group that is read at once.
    const MOST_IN_A_GROUP: usize = 16;
    /// Of a usage line, without the program's name.
    const MOST_USAGE: usize = 100;

    /// Every command that somebody can call, with its names from the program's on.
    fn commands() -> Vec<(String, Command)> {
        fn collect(above: &str, command: &Command, found: &mut Vec<(String, Command)>) {
            let subs = command.get_subcommands();
            for sub in subs.filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
                let name = format!("{above} {}", sub.get_name()).trim().to_owned();
                found.push((name.clone(), sub.clone()));
                collect(&name, sub, found);
            }
        }
        let mut command = Cli::command();
        command.build();
        let mut found = Vec::new();
        collect("", &command, &mut found);
        found
    }

    #[test]
    fn every_command_shows_two_examples_that_parse_its_environment_and_its_exit_codes() {
        for (name, command) in commands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
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
                assert!(words[1..].join(" ").starts_with(&name), "{name}: {example}");
            }
            assert!(help.contains("UNBLOAT_LOG") && help.contains("Exit codes:"), "{name}");
        }
    }

    #[test]
    fn every_commands_options_stand_in_groups() {
        for (name, command) in commands() {
            let mut groups = std::collections::BTreeMap::<Option<&str>, usize>::new();
            for option in command.get_opts().chain(command.get_arguments().filter(|it| it.is_global_set())) {
                *groups.entry(option.get_help_heading()).or_default() += 1;
            }
            assert!(groups.get(&None).is_none_or(|count| *count <= MOST_UNGROUPED), "{name}: {groups:?}");
            assert!(groups.values().all(|count| *count <= MOST_IN_A_GROUP), "{name}: {groups:?}");
        }
    }

    #[test]
    fn usage_lines_are_short_and_name_each_operand_once() {
        for (name, mut command) in commands() {
            let usage = command.render_usage().to_string();
            for line in usage.lines() {
                assert!(line.len() <= MOST_USAGE, "{name}: {line}");
            }
            let words: Vec<&str> = usage.split_whitespace().collect();
            // What follows an option is its value.
            let operands = words.windows(2).filter_map(|pair| {
                (!pair[0].starts_with("--") && pair[1].starts_with(['<', '['])).then_some(pair[1])
            });
            let mut seen = std::collections::BTreeSet::new();
            for operand in operands {
                assert!(seen.insert(operand.trim_end_matches('.')), "{name}: {operand} twice in {usage}");
            }
        }
    }

    /// A command that reads no image and asks no registry has no options for connections.
    #[test]
    fn options_for_connections_are_where_there_is_one() {
        const TO_REGISTRIES: [&str; 11] = [
            "analyze", "squash", "remove", "rebase", "verify", "explore", "history", "tags", "tag", "copy",
            "login",
        ];
        const TO_CLUSTERS: [&str; 10] = [
            "run",
            "get",
            "watch",
            "logs",
            "cancel",
            "report",
            "policies",
            "approve",
            "policy test",
            "policy",
        ];
        for (name, command) in commands() {
            let has = |long: &str| command.get_opts().any(|option| option.get_long() == Some(long));
            assert_eq!(has("ca-file"), TO_REGISTRIES.contains(&&name[..]), "{name}: --ca-file");
            let to_cluster = TO_CLUSTERS.contains(&&name[..]) && name != "policy";
            assert_eq!(has("kubeconfig"), to_cluster, "{name}: --kubeconfig");
        }
    }
}
