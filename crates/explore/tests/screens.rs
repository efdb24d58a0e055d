//! What the browser looks like, as text. `UPDATE_SCREENS=1 cargo test -p unbloat-explore --test screens`
//! writes the files anew.

use std::fs;
use std::path::PathBuf;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::{Color, Modifier};
use tar::EntryType;
use unbloat_explore::{App, Effect, Image, Layer};
use unbloat_text::SquashCommand;

mod tars;
use tars::{Tar, catalogue};

/// The incident, small: a log that every commit copies up, a cache that is removed too late.
fn app(colour: bool) -> App {
    let mut layers = vec![
        Tar::default()
            .folder("etc")
            .file("etc/passwd", b"root:x:0:0::/root:/bin/sh\n")
            .folder("usr")
            .folder("usr/bin")
            .sized("usr/bin/bash", 1_265_648)
            .symlink("usr/bin/sh", "bash")
            .hard_link("usr/bin/rbash", "usr/bin/bash")
            .folder("var")
            .folder("var/log")
            .sized("var/log/btmp", 384_000)
            .end(),
        Tar::default()
            .sized("root/.cache/pip/wheel-1.whl", 900_000)
            .sized("usr/lib/python3/app.py", 9000)
            .end(),
    ];
    for commit in 2..30 {
        layers.push(
            Tar::default()
                .folder("var")
                .folder("var/log")
                .sized("var/log/btmp", 384_000 + commit * 3840)
                .sized(&format!("home/devbox/file-{commit}"), 2000)
                .end(),
        );
    }
    layers.push(
        Tar::default().whiteout("root/.cache").entry(b"etc/passwd", EntryType::Regular, "", b"", 0o600).end(),
    );
    let count = layers.len();
    let command = |index| match index {
        0 => "/bin/sh -c #(nop) ADD file:0123456789 in / ".to_owned(),
        1 => "RUN /bin/sh -c pip install app # buildkit".to_owned(),
        _ if index + 1 == count => "RUN rm -rf /root/.cache && chmod 600 /etc/passwd".to_owned(),
        _ => format!("devbox commit {index}"),
    };
    let image = Image {
        reference: "registry.example/team/devbox:today".into(),
        digest: "sha256:9616977832d60997e96a1993d443f3144ea051d69007fa88c652092c3b6acd85".into(),
        platform: "linux/amd64".into(),
        layers: (0..count)
            .map(|index| Layer {
                digest: format!("sha256:{index:064x}"),
                compressed_bytes: 10_000 + index as u64 * 100,
                created_by: Some(command(index)),
            })
            .collect(),
        squash: SquashCommand {
            source: "registry.example/team/devbox:today".into(),
            destination: "registry.example/team/devbox:today-flat".into(),
            options: Vec::new(),
        },
    };
    App::new(catalogue(layers), image, colour)
}

fn press(app: &mut App, keys: &str) {
    for word in keys.split(' ') {
        let code = match word {
            "Tab" => KeyCode::Tab,
            "Down" => KeyCode::Down,
            "Up" => KeyCode::Up,
            "End" => KeyCode::End,
            "Enter" => KeyCode::Enter,
            "Esc" => KeyCode::Esc,
            letters => {
                for letter in letters.chars() {
                    assert_eq!(app.key(KeyEvent::from(KeyCode::Char(letter))), None);
                }
                continue;
            }
        };
        assert_eq!(app.key(KeyEvent::from(code)), None);
    }
}

fn draw(app: &mut App, columns: u16, lines: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(columns, lines)).expect("a screen");
    terminal.draw(|frame| app.draw(frame)).expect("the test's screen never fails");
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let mut text = String::new();
    for y in 0..buffer.area.height {
        let line: String = (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[track_caller]
fn looks_like(name: &str, app: &mut App, columns: u16, lines: u16) {
    let found = text(&draw(app, columns, lines));
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/screens").join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_SCREENS").is_some() {
        fs::write(&path, &found).expect("the file can be written");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{name} should look like\n{expected}\nand looks like\n{found}");
}

#[test]
fn the_image_at_first() {
    looks_like("first", &mut app(true), 80, 24);
}

#[test]
fn a_layers_changes_with_the_tree_in_front() {
    let mut app = app(true);
    press(&mut app, "End Tab Down Down");
    looks_like("changes", &mut app, 80, 24);
}

#[test]
fn the_tree_after_a_layer_with_permissions_on_a_wide_screen() {
    let mut app = app(true);
    press(&mut app, "End a Tab e Down e Down Down Down e");
    looks_like("tree-wide", &mut app, 130, 30);
}

#[test]
fn the_layers_that_have_a_path() {
    let mut app = app(true);
    press(&mut app, "Tab /btmp Enter v");
    looks_like("versions", &mut app, 80, 24);
    press(&mut app, "Up Up Enter");
    looks_like("version-reached", &mut app, 80, 24);
}

#[test]
fn a_filter_while_it_is_typed() {
    let mut app = app(true);
    press(&mut app, "fcache");
    looks_like("filter", &mut app, 80, 24);
}

#[test]
fn only_wasted_with_the_most_first_and_marks() {
    let mut app = app(true);
    press(&mut app, "w o Tab e Down Down t");
    looks_like("wasted", &mut app, 80, 24);
    press(&mut app, "m");
    looks_like("marks", &mut app, 80, 24);
}

#[test]
fn the_help() {
    let mut app = app(true);
    press(&mut app, "?");
    looks_like("help", &mut app, 80, 24);
    looks_like("help-tall", &mut app, 100, 40);
}

#[test]
fn a_narrow_screen_shows_one_side_at_a_time() {
    let mut app = app(true);
    looks_like("narrow-layers", &mut app, 48, 14);
    press(&mut app, "Tab");
    looks_like("narrow-tree", &mut app, 48, 14);
    assert!(text(&draw(&mut app, 20, 5)).starts_with("too small"));
}

#[test]
fn every_size_of_screen_can_be_drawn() {
    let mut app = app(true);
    for keys in ["Tab e", "?", "Esc v", "Esc m", "Esc fx", "Esc"] {
        press(&mut app, keys);
        for columns in (1..140).step_by(7) {
            for lines in 1..40 {
                draw(&mut app, columns, lines);
            }
        }
    }
}

#[test]
fn without_colour_every_sign_is_a_letter() {
    let mut app = app(false);
    press(&mut app, "End Tab e");
    let buffer = draw(&mut app, 100, 30);
    for cell in buffer.content() {
        assert!(cell.fg == Color::Reset && cell.bg == Color::Reset, "{cell:?}");
    }
    let text = text(&buffer);
    for sign in [" ~ ", " - "] {
        assert!(text.contains(sign), "{sign:?} is not in\n{text}");
    }
}

#[test]
fn what_a_layer_removes_is_red_and_crossed_out() {
    let mut app = app(true);
    press(&mut app, "End");
    let buffer = draw(&mut app, 100, 30);
    let (x, y) = (0..30)
        .flat_map(|y| (0..100).map(move |x| (x, y)))
        .find(|(x, y)| {
            "wheel".chars().enumerate().all(|(at, letter)| {
                let x = x + at as u16;
                x < 100 && buffer[(x, *y)].symbol() == letter.to_string()
            })
        })
        .expect("the wheel is shown");
    let cell = &buffer[(x, y)];
    assert_eq!(cell.fg, Color::Red);
    assert!(cell.modifier.contains(Modifier::CROSSED_OUT));
}

#[test]
fn no_name_and_no_command_reaches_the_terminal_as_it_is() {
    let layer = Tar::default()
        .entry(b"a\x1b]0;owned\x07\x1b[2J", EntryType::Regular, "", b"x", 0o644)
        .entry(b"b\xff\xfe\n\r\t\xe2\x80\xae", EntryType::Symlink, "\u{1b}[31m\u{202e}target", b"", 0o644)
        .end();
    let hostile = "RUN \u{1b}[5m\u{9b}31mevil\u{202e}".to_owned();
    let image = Image {
        reference: "x\u{1b}[31m".into(),
        layers: vec![Layer { created_by: Some(hostile), ..Layer::default() }],
        ..Image::default()
    };
    let mut app = App::new(catalogue(vec![layer]), image, true);
    for keys in ["Tab", "Tab Down", "Tab Down", "v", "Esc r", "m"] {
        press(&mut app, keys);
        let text = text(&draw(&mut app, 120, 30));
        let unsafe_letter = |letter: &char| {
            *letter != '\n' && (letter.is_control() || ('\u{202a}'..='\u{202e}').contains(letter))
        };
        assert_eq!(text.chars().find(unsafe_letter), None, "{text}");
    }
    assert!(!app.command().expect("a path is marked").contains(['\u{1b}', '\u{202e}']));
}

#[test]
fn marks_become_a_command_when_the_browser_is_left() {
    let mut app = app(true);
    assert_eq!(app.command(), None);
    press(&mut app, "Tab /btmp Enter t /app.py Enter r /passwd Enter r /home Enter r r /rbash Enter t u");
    assert_eq!(app.key(KeyEvent::from(KeyCode::Char('q'))), Some(Effect::Leave));
    assert_eq!(
        app.command().as_deref(),
        Some(
            "unbloat squash registry.example/team/devbox:today \\\n    registry.example/team/devbox:today-flat \\\n    \
             --remove /etc/passwd \\\n    --remove /usr/lib/python3/app.py \\\n    --truncate /var/log/btmp"
        )
    );
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(app.key(control_c), Some(Effect::Abandon));
}

#[test]
fn a_folder_cannot_be_truncated_and_what_is_gone_needs_no_mark() {
    let mut app = app(true);
    press(&mut app, "Tab /etc Enter t");
    assert!(text(&draw(&mut app, 80, 24)).contains("only files can be truncated"));
    press(&mut app, "/wheel Enter r");
    assert!(text(&draw(&mut app, 80, 24)).contains("the image does not show this path"));
    assert_eq!(app.command(), None);
}

#[test]
fn extracting_asks_for_a_file_and_takes_the_content_of_the_chosen_layer() {
    let mut app = app(true);
    press(&mut app, "Tab /rbash Enter x");
    assert!(text(&draw(&mut app, 80, 24)).contains("write to: rbash"));
    let Some(Effect::Extract { content, to }) = app.key(KeyEvent::from(KeyCode::Enter)) else {
        panic!("Enter extracts");
    };
    assert_eq!((content.layer, content.bytes), (0, 1_265_648), "the link's content is the other name's");
    assert_eq!(to, PathBuf::from("rbash"));
    press(&mut app, "/usr Enter x");
    assert!(text(&draw(&mut app, 80, 24)).contains("only files can be extracted"));
}
