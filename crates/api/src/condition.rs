//! Condition types, and how a condition changes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use unbloat_text::bounded;

/// The summary of bounded work: `Unknown` while it runs, then `True` or `False`.
pub const SUCCEEDED: &str = "Succeeded";
/// Whether the source is pinned to a digest: every attempt then reads the same image.
pub const SOURCE_RESOLVED: &str = "SourceResolved";

/// Longest condition message, in bytes: the API allows 32768, a person reads one line.
pub const MESSAGE_LIMIT: usize = 1024;

/// The three values of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// `True`
    True,
    /// `False`
    False,
    /// `Unknown`
    Unknown,
}

impl State {
    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            State::True => "True",
            State::False => "False",
            State::Unknown => "Unknown",
        }
    }
}

/// The condition of a type, where there is one.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// What is to be said by a condition; [`Statement::set`] says it.
#[derive(Clone, Debug)]
pub struct Statement<'a> {
    type_: &'a str,
    state: State,
    reason: &'a str,
    message: &'a str,
    generation: Option<i64>,
}

impl<'a> Statement<'a> {
    /// A condition of this type is in this state, for this reason.
    pub fn new(type_: &'a str, state: State, reason: impl Into<&'a str>) -> Self {
        Self { type_, state, reason: reason.into(), message: "", generation: None }
    }

    /// In these words.
    #[must_use]
    pub fn saying(self, message: &'a str) -> Self {
        Self { message, ..self }
    }

    /// About this generation of the spec.
    #[must_use]
    pub fn about(self, generation: Option<i64>) -> Self {
        Self { generation, ..self }
    }

    /// Says it; `lastTransitionTime` moves only when the state does.
    pub fn set(self, conditions: &mut Vec<Condition>, now: Timestamp) {
        let Self { type_, state, reason, message, generation } = self;
        let same = conditions.iter().position(|condition| condition.type_ == type_);
        let since = same
            .map(|at| &conditions[at])
            .filter(|old| old.status == state.as_str())
            .map_or(Time(now), |old| old.last_transition_time.clone());
        let condition = Condition {
            type_: type_.to_owned(),
            status: state.as_str().to_owned(),
            reason: reason.to_owned(),
            message: bounded(message, MESSAGE_LIMIT),
            observed_generation: generation,
            last_transition_time: since,
        };
        match same {
            Some(at) => conditions[at] = condition,
            None => conditions.push(condition),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reason;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a second after 1970")
    }

    #[test]
    fn a_transition_time_moves_with_the_status_and_not_with_the_reason() {
        let mut conditions = Vec::new();
        let mut set = |state, reason: Reason, second| {
            Statement::new(SUCCEEDED, state, reason)
                .saying("so")
                .about(Some(1))
                .set(&mut conditions, at(second));
            conditions.clone()
        };
        set(State::Unknown, Reason::Queued, 10);
        let running = set(State::Unknown, Reason::Running, 20);
        let done = set(State::True, Reason::Squashed, 30);
        assert_eq!(running.len(), 1);
        assert_eq!(running[0].last_transition_time, Time(at(10)));
        assert_eq!(running[0].reason, "Running");
        assert_eq!(done[0].last_transition_time, Time(at(30)));
    }
}
