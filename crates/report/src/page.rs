//! The page's text: a template, its style and its script, and the data.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use unbloat_analysis::Analysis;

use crate::data;

/// Paths that an analysis should list for a page: enough to search in, few enough for a file that opens at
/// once.
pub const PATHS: usize = 5_000;

const TEMPLATE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/style.css");
/// One module: the parts share their names.
const SCRIPT: &str = concat!(
    include_str!("page/base.js"),
    include_str!("page/summary.js"),
    include_str!("page/layers.js"),
    include_str!("page/treemap.js"),
    include_str!("page/causes.js"),
    include_str!("page/table.js"),
    include_str!("page/tree.js"),
    include_str!("page/main.js"),
);

/// The page.
#[must_use]
pub fn page(analysis: &Analysis) -> String {
    // A value made of strings and numbers alone; only a map with other keys could fail.
    let data = data::json(analysis).unwrap_or_else(|error| unreachable!("{error}"));
    fill(TEMPLATE, |name| match name {
        "policy" => policy(),
        "version" => env!("CARGO_PKG_VERSION").to_owned(),
        "title" => text(&format!("{} – layers and wasted bytes", shown(&analysis.reference))),
        "style" => STYLE.to_owned(),
        "summary" => text(&summary(analysis)),
        "data" => data.clone(),
        "script" => SCRIPT.to_owned(),
        other => unreachable!("the template asks for {other}"),
    })
}

/// Nothing from anywhere, and of what is in the page only the style and the script that we wrote (CSP Level
/// 3).
fn policy() -> String {
    let hash = |source: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(source)));
    format!(
        "default-src 'none'; script-src {}; style-src {}; base-uri 'none'; form-action 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
        hash(SCRIPT),
        hash(STYLE),
    )
}

/// For a browser without JavaScript.
fn summary(analysis: &Analysis) -> String {
    let totals = &analysis.totals;
    format!(
        "{} has {} layers with {} bytes of files, of which {} bytes cannot be seen.",
        shown(&analysis.reference),
        totals.layers,
        totals.unpacked_bytes,
        totals.wasted_bytes
    )
}

/// Replaces each `{{name}}` by what `value` gives for it; what is put in is not looked at again.
fn fill(template: &str, value: impl Fn(&str) -> String) -> String {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once("{{") {
        let (name, behind) = behind.split_once("}}").unwrap_or((behind, ""));
        filled.push_str(before);
        filled.push_str(&value(name));
        rest = behind;
    }
    filled + rest
}

/// Text as HTML text or as the value of a quoted attribute.
fn text(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            letter => html.push(letter),
        }
    }
    html
}

/// Text without control characters.
fn shown(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_never_makes_markup_of_text() {
        for forbidden in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "srcdoc",
        ] {
            assert!(!SCRIPT.contains(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn nothing_in_the_page_names_another_place() {
        let page = page(&Analysis::default());
        for forbidden in
            ["http://", "https://", "//cdn", "src=", "@import", "url(", "fetch(", "XMLHttpRequest"]
        {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn what_is_put_in_is_not_looked_at_again() {
        let analysis = Analysis { reference: "{{script}}<b>'\"&".into(), ..Analysis::default() };
        let page = page(&analysis);
        assert!(page.contains("<title>{{script}}&lt;b&gt;&#39;&quot;&amp; –"));
        assert_eq!(page.matches("const data = JSON.parse").count(), 1);
    }

    #[test]
    fn the_policy_allows_exactly_the_style_and_the_script_of_the_page() {
        let page = page(&Analysis::default());
        let between = |open: &str, close: &str| {
            let (_, rest) = page.split_once(open).expect(open);
            rest.split_once(close).expect(close).0.to_owned()
        };
        for part in [between("<style>", "</style>"), between("<script type=\"module\">", "</script>")] {
            let hash = STANDARD.encode(Sha256::digest(&part));
            assert!(page.contains(&format!("'sha256-{hash}'")));
        }
        assert_eq!(page.matches("<script").count(), 2);
        assert_eq!(page.matches("<style").count(), 1);
    }
}
