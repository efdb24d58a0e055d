//! Names of images against patterns: `*` for any characters, `?` for one.

/// Whether a pattern matches a whole text. Time grows with the product of both lengths at most, whatever the
/// pattern.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where the last star was, and the text that it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((at, taken)) = star else { return false };
                star = Some((at, taken + 1));
                p = at + 1;
                t = taken + 1;
            }
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_cross_slashes_and_patterns_are_whole() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "registry.example/a/b:c", true),
            ("registry.example/*", "registry.example/team/app:v1", true),
            ("registry.example/*", "registry.example.evil/team/app", false),
            ("registry.example/team", "registry.example/team/app", false),
            ("*/app:v?", "registry.example/team/app:v1", true),
            ("*/app:v?", "registry.example/team/app:v12", false),
            ("*app*v1", "registry.example/app/x/app:v1", true),
            ("a**b", "ab", true),
            ("?", "", false),
            ("ü*", "über", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_is_no_trap() {
        let start = std::time::Instant::now();
        assert!(!matches(&"*a".repeat(250), &"a".repeat(249)));
        assert!(!matches(&"a*".repeat(250), &format!("{}b", "a".repeat(200))));
        assert!(start.elapsed() < std::time::Duration::from_secs(1));
    }
}
