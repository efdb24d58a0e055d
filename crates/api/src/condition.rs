//! Condition types, and how a condition changes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

pub use unbloat_contract::text::bounded;

use crate::Reason;

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

/// Sets a condition; `lastTransitionTime` moves only when its status does.
pub fn set(
    conditions: &mut Vec<Condition>,
    type_: &str,
    state: State,
    reason: Reason,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) {
    let message = bounded(message, MESSAGE_LIMIT);
    let old = conditions.iter_mut().find(|condition| condition.type_ == type_);
    match old {
        Some(condition) => {
            if condition.status != state.as_str() {
                condition.last_transition_time = Time(now);
            }
            condition.status = state.as_str().to_owned();
            condition.reason = reason.as_str().to_owned();
            condition.message = message;
            condition.observed_generation = generation;
        }
        None => conditions.push(Condition {
            type_: type_.to_owned(),
            status: state.as_str().to_owned(),
            reason: reason.as_str().to_owned(),
            message,
            observed_generation: generation,
            last_transition_time: Time(now),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a second after 1970")
    }

    #[test]
    fn a_transition_time_moves_with_the_status_and_not_with_the_reason() {
        let mut conditions = Vec::new();
        set(&mut conditions, SUCCEEDED, State::Unknown, Reason::Queued, "waits", Some(1), at(10));
        set(&mut conditions, SUCCEEDED, State::Unknown, Reason::Running, "runs", Some(1), at(20));
        assert_eq!(conditions.len(), 1);
        assert_eq!(conditions[0].last_transition_time, Time(at(10)));
        assert_eq!(conditions[0].reason, "Running");
        set(&mut conditions, SUCCEEDED, State::True, Reason::Squashed, "done", Some(1), at(30));
        assert_eq!(conditions[0].last_transition_time, Time(at(30)));
    }
}
