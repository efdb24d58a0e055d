//! One line of text that is being typed.

/// The text and where the next letter goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Prompt {
    letters: Vec<char>,
    at: usize,
}

impl Prompt {
    pub(super) fn new(text: &str) -> Self {
        let letters: Vec<char> = text.chars().collect();
        Self { at: letters.len(), letters }
    }

    pub(super) fn text(&self) -> String {
        self.letters.iter().collect()
    }

    /// The text before and behind the cursor.
    pub(super) fn parts(&self) -> (String, String) {
        (self.letters[..self.at].iter().collect(), self.letters[self.at..].iter().collect())
    }

    pub(super) fn insert(&mut self, letter: char) {
        if !unbloat_text::is_unsafe(letter) {
            self.letters.insert(self.at, letter);
            self.at += 1;
        }
    }

    pub(super) fn delete_back(&mut self) {
        if self.at > 0 {
            self.at -= 1;
            self.letters.remove(self.at);
        }
    }

    pub(super) fn delete(&mut self) {
        if self.at < self.letters.len() {
            self.letters.remove(self.at);
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn left(&mut self) {
        self.at = self.at.saturating_sub(1);
    }

    pub(super) fn right(&mut self) {
        self.at = (self.at + 1).min(self.letters.len());
    }

    pub(super) fn home(&mut self) {
        self.at = 0;
    }

    pub(super) fn end(&mut self) {
        self.at = self.letters.len();
    }
}
