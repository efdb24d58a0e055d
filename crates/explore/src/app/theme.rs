//! Colours: the terminal's own sixteen, so that they fit its background. Everything is told by a sign as
//! well.

use ratatui::style::{Color, Modifier, Style};

use crate::view::Sign;

/// How things look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Theme {
    colour: bool,
}

impl Theme {
    pub(crate) fn new(colour: bool) -> Self {
        Self { colour }
    }

    fn coloured(self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }

    pub(super) fn title(self) -> Style {
        self.coloured(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    pub(super) fn border(self, has_focus: bool) -> Style {
        if has_focus {
            self.coloured(Color::Cyan).add_modifier(Modifier::BOLD)
        } else {
            Style::new().add_modifier(Modifier::DIM)
        }
    }

    pub(super) fn heading(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(super) fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub(super) fn key(self) -> Style {
        self.coloured(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    pub(super) fn wasted(self) -> Style {
        self.coloured(Color::Yellow).add_modifier(if self.colour {
            Modifier::empty()
        } else {
            Modifier::BOLD
        })
    }

    pub(super) fn mark(self) -> Style {
        self.coloured(Color::Magenta).add_modifier(Modifier::BOLD | Modifier::REVERSED)
    }

    pub(super) fn message(self) -> Style {
        self.coloured(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    pub(super) fn chosen(self, has_focus: bool) -> Style {
        Style::new().add_modifier(if has_focus { Modifier::REVERSED } else { Modifier::UNDERLINED })
    }

    pub(super) fn folder(self) -> Style {
        self.coloured(Color::Blue).add_modifier(Modifier::BOLD)
    }

    pub(super) fn sign(self, sign: Sign) -> Style {
        match sign {
            Sign::Plain => Style::new(),
            Sign::Added => self.coloured(Color::Green),
            Sign::Changed | Sign::Below => self.coloured(Color::Yellow),
            Sign::Removed | Sign::Gone => self.coloured(Color::Red).add_modifier(Modifier::CROSSED_OUT),
        }
    }

    /// The sign's letter must stay readable where its path is crossed out.
    pub(super) fn letter(self, sign: Sign) -> Style {
        self.sign(sign).remove_modifier(Modifier::CROSSED_OUT).add_modifier(Modifier::BOLD)
    }
}

/// The sign as one letter.
pub(super) fn letter(sign: Sign) -> &'static str {
    match sign {
        Sign::Plain => " ",
        Sign::Added => "+",
        Sign::Changed => "~",
        Sign::Removed => "-",
        Sign::Below => ".",
        Sign::Gone => "x",
    }
}
