//! Which instructions of a Dockerfile made an image: those of its stage, and before them those of the stages
//! that it is built on.

use std::collections::HashMap;

use super::dockerfile::Instruction;
use super::heredoc::unquoted;
use crate::error::Usage;

/// Instructions that may make a layer.
pub(super) const MAKES_A_LAYER: [&str; 4] = ["RUN", "COPY", "ADD", "WORKDIR"];

/// One stage.
#[derive(Debug, Default)]
struct Stage {
    name: Option<String>,
    /// The stage that it is built on, when that is no image.
    base: Option<usize>,
    layers: Vec<Instruction>,
    /// `ONBUILD`: what stages built on this one do first.
    triggers: Vec<Instruction>,
}

/// The instructions that made the layers of stage `target` (a name, or a number from 0), or of the last one,
/// in order.
///
/// # Errors
/// There is no such stage.
pub(super) fn layers(instructions: &[Instruction], target: Option<&str>) -> Result<Vec<Instruction>, Usage> {
    let stages = stages(instructions);
    let wanted = match target {
        None => stages.len().checked_sub(1),
        Some(target) => Some(find(&stages, target).ok_or_else(|| unknown(&stages, target))?),
    };
    let mut chain = Vec::new();
    let mut at = wanted;
    while let Some(index) = at {
        chain.push(index);
        at = stages[index].base;
    }
    let mut made = Vec::new();
    for index in chain.into_iter().rev() {
        let base = stages[index].base.map_or(&[][..], |base| &stages[base].triggers);
        made.extend(base.iter().chain(&stages[index].layers).cloned());
    }
    Ok(made)
}

fn find(stages: &[Stage], target: &str) -> Option<usize> {
    let named = |stage: &Stage| stage.name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(target));
    let number = || target.parse().ok().filter(|index| *index < stages.len());
    stages.iter().rposition(named).or_else(number)
}

fn unknown(stages: &[Stage], target: &str) -> Usage {
    let names: Vec<&str> = stages.iter().filter_map(|stage| stage.name.as_deref()).collect();
    let names = if names.is_empty() { "no stage has a name".to_owned() } else { names.join(", ") };
    Usage(format!("the Dockerfile has no stage {target:?} ({names})"))
}

fn stages(instructions: &[Instruction]) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    // Arguments before the first stage may stand in a FROM.
    let mut arguments: HashMap<String, String> = HashMap::new();
    for instruction in instructions {
        let stage = stages.last_mut();
        match (instruction.keyword.as_str(), stage) {
            ("FROM", _) => {
                let stage = from(&instruction.text, &stages, &arguments);
                stages.push(stage);
            }
            ("ARG", None) => {
                for word in instruction.text.split_whitespace() {
                    let (name, value) = word.split_once('=').unwrap_or((word, ""));
                    let value = expand(&unquoted(value), &arguments);
                    arguments.insert(name.to_owned(), value);
                }
            }
            ("ONBUILD", Some(stage)) => {
                let mut trigger = Instruction::new(instruction.line, &instruction.text);
                trigger.body.clone_from(&instruction.body);
                if makes_a_layer(&trigger) {
                    stage.triggers.push(trigger);
                }
            }
            (_, Some(stage)) if makes_a_layer(instruction) => stage.layers.push(instruction.clone()),
            _ => {}
        }
    }
    stages
}

fn makes_a_layer(instruction: &Instruction) -> bool {
    MAKES_A_LAYER.contains(&instruction.keyword.as_str())
}

fn from(text: &str, stages: &[Stage], arguments: &HashMap<String, String>) -> Stage {
    let words: Vec<&str> = text.split_whitespace().filter(|word| !word.starts_with("--")).collect();
    let name = match words.as_slice() {
        [_, word, name, ..] if word.eq_ignore_ascii_case("AS") => Some((*name).to_owned()),
        _ => None,
    };
    let base = expand(&unquoted(words.first().copied().unwrap_or("")), arguments);
    // Only stages above can be meant, by name alone.
    let named = |stage: &Stage| stage.name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(&base));
    Stage { name, base: stages.iter().rposition(named), ..Stage::default() }
}

/// `$NAME`, `${NAME}`, `${NAME:-otherwise}` and `${NAME:+then}` in a word.
fn expand(word: &str, arguments: &HashMap<String, String>) -> String {
    let mut text = String::new();
    let mut rest = word;
    while let Some((before, behind)) = rest.split_once('$') {
        text.push_str(before);
        let (expression, after) = match behind.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some(parts) => parts,
            None => {
                let end = behind.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
                behind.split_at(end.unwrap_or(behind.len()))
            }
        };
        let end = expression.find([':', '-', '+']).unwrap_or(expression.len());
        let (name, operator) = expression.split_at(end);
        let value = arguments.get(name).filter(|value| !value.is_empty());
        let operator = operator.trim_start_matches(':');
        match (value, operator.split_at_checked(1)) {
            (None, Some(("-", otherwise))) => text.push_str(otherwise),
            (Some(_), Some(("+", then))) => text.push_str(then),
            (None, _) => {}
            (Some(value), _) => text.push_str(value),
        }
        rest = after;
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::super::dockerfile::instructions;
    use super::*;

    const DOCKERFILE: &str = "\
ARG ROOT=base TAG=\"12\"
ARG FROM_ARG=${ROOT}
FROM debian:${TAG} AS Base
RUN base
ONBUILD COPY onbuild /x
FROM golang as build
RUN build
FROM --platform=$BUILDPLATFORM BASE AS tools
RUN tools
FROM $FROM_ARG AS release
WORKDIR /app
COPY --from=1 /x /app
FROM ${NOTHING:-tools}
ENV a=b
ADD last /
";

    fn lines(target: Option<&str>) -> Vec<u64> {
        let made = layers(&instructions(DOCKERFILE), target).expect("the stage is there");
        made.into_iter().map(|instruction| instruction.line).collect()
    }

    #[test]
    fn a_stage_has_the_layers_of_those_that_it_is_built_on() {
        assert_eq!(lines(None), [4, 5, 9, 15], "tools, on base with its trigger");
        assert_eq!(lines(Some("release")), [4, 5, 11, 12], "through an argument");
        assert_eq!(lines(Some("build")), [7]);
    }

    #[test]
    fn a_target_is_a_name_in_any_case_or_a_number() {
        assert_eq!(lines(Some("TOOLS")), [4, 5, 9]);
        assert_eq!(lines(Some("base")), [4]);
        assert_eq!(lines(Some("0")), [4]);
        assert_eq!(lines(Some("4")), [4, 5, 9, 15]);
    }

    #[test]
    fn a_target_that_is_not_there_is_told_with_those_that_are() {
        let error = layers(&instructions(DOCKERFILE), Some("relase")).unwrap_err().to_string();
        assert!(error.contains("\"relase\"") && error.contains("Base, build, tools, release"), "{error}");
        assert!(layers(&instructions(DOCKERFILE), Some("9")).is_err());
    }

    #[test]
    fn a_stage_that_is_named_as_its_own_image_is_built_on_the_image() {
        let made = layers(&instructions("FROM debian AS debian\nRUN a\nFROM debian\nRUN b\n"), None).unwrap();
        assert_eq!(made.len(), 2);
    }

    #[test]
    fn a_file_without_a_stage_made_nothing() {
        assert_eq!(layers(&instructions("# only words\nRUN x\n"), None).unwrap(), []);
    }
}
