//! Faults on demand: which request fails, and how.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::Method;

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Answers with this status and these headers, without doing anything.
    Status(u16, Vec<(&'static str, String)>),
    /// Does what was asked, and answers with this status all the same: the answer is lost, not the work.
    DoneButStatus(u16),
    /// Breaks the body off after this many bytes, by closing the connection.
    Truncate(u64),
    /// Sends this many bytes of the body and then nothing.
    Stall(u64),
    /// Waits before doing anything.
    Delay(Duration),
    /// Changes the first byte of the body.
    Corrupt,
    /// Changes the byte of this number.
    CorruptAt(u64),
    /// Closes the connection without an answer.
    Reset,
    /// Forgets the upload session and answers 404.
    LoseSession,
    /// Keeps only this many bytes of a chunk and says so.
    KeepOnly(u64),
    /// Keeps this many bytes of a chunk and then closes the connection without an answer.
    KeepThenReset(u64),
    /// Makes all tokens invalid, then answers as usual.
    ExpireTokens,
    /// Breaks the body off after this many bytes and makes all tokens invalid.
    TruncateAndExpire(u64),
    /// Ignores a `Range` and sends everything.
    IgnoreRange,
    /// Redirects to the same path of another origin, such as `http://127.0.0.1:4567`.
    Redirect(String),
}

/// When it goes wrong.
#[derive(Clone, Debug)]
pub struct Rule {
    method: Option<Method>,
    path: String,
    skip: usize,
    times: usize,
    fault: Fault,
}

impl Rule {
    /// Every request whose path holds this text.
    #[must_use]
    pub fn new(path: &str, fault: Fault) -> Self {
        Self { method: None, path: path.to_owned(), skip: 0, times: usize::MAX, fault }
    }

    /// Only with this method.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = Some(method);
        self
    }

    /// Lets the first `count` matching requests pass.
    #[must_use]
    pub fn after(mut self, count: usize) -> Self {
        self.skip = count;
        self
    }

    /// Ends after so many faults.
    #[must_use]
    pub fn times(mut self, count: usize) -> Self {
        self.times = count;
        self
    }
}

/// The rules of a server; the first that matches acts.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Mutex<Vec<Rule>>,
}

impl Faults {
    /// Adds a rule at the end.
    ///
    /// # Panics
    /// Never: nothing panics while the list is held.
    pub fn add(&self, rule: Rule) {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).push(rule);
    }

    /// Removes all rules.
    ///
    /// # Panics
    /// Never.
    pub fn clear(&self) {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The fault of this request; counts it.
    pub(crate) fn take(&self, method: &Method, path: &str) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        for rule in rules.iter_mut() {
            let matches =
                rule.method.as_ref().is_none_or(|wanted| wanted == method) && path.contains(&rule.path);
            if !matches || rule.times == 0 {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            rule.times -= 1;
            return Some(rule.fault.clone());
        }
        None
    }
}
