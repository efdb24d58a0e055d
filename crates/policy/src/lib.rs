//! What a policy means: which images it matches, when they are too much, what may be done about them now.
//!
//! What happens here: pods become the images that are in use ([`inventory`]), what is known of them is
//! compared with each policy ([`selector`], [`threshold`]), and one pure function says what is to be made,
//! resumed, deleted and told ([`decide`]). What does not: no client, no clock, no registry; the operator does
//! what is decided here, and `unbloat policy test` shows it.
//!
//! Invariants:
//! - decisions are functions of what was observed and of the time, which is an argument;
//! - what must survive a restart is read from statuses and names: nothing is remembered;
//! - an image is its repository and digest, whatever its tags; it is squashed at most once, and a result
//!   never is.
//!
//! # Where to look
//! Which policy an image belongs to, and whether it is too much: `decide::judge`, with the comparison itself
//! in [`threshold`]. Whose turn it is, and what an image waits for: `decide::actor`. Which come first, places
//! and budgets: `decide::limits`; a job that was made then waits once more, with those of tenants, for one of
//! the operator's places (its `squash_job::places`). What a job looks like: [`job`]. What a report says (the
//! `ImageReport`; `crates/report` is the page for a browser): [`report`]. The operator's `detector::apply`
//! writes both.

pub mod budget;
pub mod decide;
pub mod facts;
pub mod image;
pub mod inventory;
pub mod job;
pub mod pattern;
pub mod quantity;
pub mod report;
pub mod retention;
pub mod rollout;
pub mod selector;
pub mod target;
pub mod threshold;
pub mod window;

#[cfg(test)]
mod fixtures;
