//! The names that are there, for an error about one that is not.

use std::fmt;

/// Names that an error lists: all of a few, else those that look like the wrong one.
const MOST: usize = 8;
/// How alike two names have to be: half of their characters, as Damerau and Levenshtein count.
const ALIKE: f64 = 0.5;

/// What there is instead of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    shown: Vec<String>,
    all: usize,
    /// Whether those that are shown are some of many, which look like the wrong one.
    near: bool,
}

impl Names {
    /// Of `there`, what is worth telling somebody who wrote `wanted`.
    pub(crate) fn near(wanted: &str, there: &[String]) -> Self {
        let all = there.len();
        if all <= MOST {
            return Self { shown: there.to_vec(), all, near: false };
        }
        let likeness = |name: &String| match name.contains(wanted) || wanted.contains(name.as_str()) {
            true => 1.0,
            false => strsim::normalized_damerau_levenshtein(name, wanted),
        };
        let mut ranked: Vec<(f64, &String)> = there.iter().map(|name| (likeness(name), name)).collect();
        ranked.retain(|(alike, _)| *alike >= ALIKE);
        ranked.sort_by(|(a, one), (b, other)| b.total_cmp(a).then_with(|| one.cmp(other)));
        let shown = ranked.into_iter().take(MOST).map(|(_, name)| name.clone()).collect();
        Self { shown, all, near: true }
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = crate::error::sanitize(&self.shown.join(", "));
        match self {
            Self { all: 0, .. } => f.write_str("there is no name at all"),
            Self { near: false, .. } => write!(f, "there are {shown}"),
            Self { shown: none, all, .. } if none.is_empty() => {
                write!(f, "none of the {all} names there looks like it")
            }
            Self { all, .. } => write!(f, "of the {all} names there these look like it: {shown}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_names_are_all_told_and_of_many_those_that_look_like_the_wrong_one() {
        let names = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(Names::near("x", &[]).to_string(), "there is no name at all");
        assert_eq!(Names::near("x", &names(&["a", "b"])).to_string(), "there are a, b");
        let mut many: Vec<String> = (0..50).map(|build| format!("build-{build:04}-abcdef")).collect();
        many.extend(names(&["v1.2.3", "v1.2.4", "latest"]));
        let told = Names::near("1.2.3", &many).to_string();
        assert!(told.contains("v1.2.3, v1.2.4") && !told.contains("latest"), "{told}");
        let told = Names::near("lastest", &many).to_string();
        assert!(told.ends_with(": latest"), "{told}");
        assert_eq!(Names::near("qqq", &many).to_string(), "none of the 53 names there looks like it");
    }
}
