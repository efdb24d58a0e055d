//! References as Docker reads them.

use proptest::prelude::*;
use unbloat_oci::{Digest, Reference, Target};

const ID: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn printed(text: &str) -> String {
    text.parse::<Reference>().unwrap().to_string()
}

fn position(text: &str) -> usize {
    text.parse::<Reference>().unwrap_err().position
}

#[test]
fn short_names_are_completed_as_docker_does() {
    for (text, full) in [
        ("ubuntu", "docker.io/library/ubuntu"),
        ("ubuntu:24.04", "docker.io/library/ubuntu:24.04"),
        ("team/app", "docker.io/team/app"),
        ("docker.io/ubuntu", "docker.io/library/ubuntu"),
        ("index.docker.io/team/app", "docker.io/team/app"),
        ("localhost/app", "localhost/app"),
        ("localhost:5000/app:t", "localhost:5000/app:t"),
        ("reg.example/a/b/c", "reg.example/a/b/c"),
        ("UPPER/app", "UPPER/app"),
        ("[::1]:5000/app:t", "[::1]:5000/app:t"),
        ("app:5000", "docker.io/library/app:5000"),
        ("a__b/c-d---e.f_g", "docker.io/a__b/c-d---e.f_g"),
    ] {
        assert_eq!(printed(text), full, "{text}");
    }
    let both = format!("reg.example/app:t@{ID}");
    assert_eq!(printed(&both), both);
}

#[test]
fn a_digest_wins_over_a_tag_and_latest_is_the_last_resort() {
    let target = |text: &str| text.parse::<Reference>().unwrap().target();
    assert_eq!(target("a"), Target::Tag("latest".to_owned()));
    assert_eq!(target("a:t"), Target::Tag("t".to_owned()));
    assert_eq!(target(&format!("a:t@{ID}")), Target::Digest(ID.parse::<Digest>().unwrap()));
}

#[test]
fn an_error_says_at_which_byte() {
    for (text, at) in [
        ("", 0),
        ("a b", 1),
        ("https://reg.example/a", 5),
        ("reg.example/Team/app", 12),
        ("reg.example/team/", 17),
        ("reg.example//app", 12),
        ("reg.example/a:", 14),
        ("reg.example/a:t/b", 13),
        ("reg.example/a:-t", 14),
        ("reg.example/a@sha256:xyz", 21),
        ("reg.example/a@md5:00", 14),
        ("reg.example:port/a", 12),
        ("reg.example:70000/a", 12),
        ("-reg.example/a", 0),
        ("reg..example/a", 4),
        ("[::1/a", 4),
        ("reg.example/a._b", 13),
        ("reg.example/_a", 12),
        ("reg.example/a-", 13),
        ("reg.example/ä", 12),
    ] {
        assert_eq!(position(text), at, "{text:?}: {}", text.parse::<Reference>().unwrap_err());
    }
    let id = "a".repeat(64);
    assert!(id.parse::<Reference>().unwrap_err().reason.contains("image id"));
    assert_eq!(position(&format!("r.example/{}", "a".repeat(256))), 265);
    assert_eq!(position(&format!("r.example/a:{}", "a".repeat(129))), 140);
}

#[test]
fn this_machine_is_known_by_all_its_names() {
    for text in
        ["localhost/a", "localhost:1/a", "127.0.0.1:5000/a", "127.8.8.8/a", "[::1]:5000/a", "x.localhost/a"]
    {
        assert!(text.parse::<Reference>().unwrap().is_loopback(), "{text}");
    }
    for text in ["a", "reg.example/a", "127.0.0.1.example/a", "10.0.0.1/a", "localhost.example/a"] {
        assert!(!text.parse::<Reference>().unwrap().is_loopback(), "{text}");
    }
}

proptest! {
    #[test]
    fn a_valid_reference_survives_printing(
        host in "([a-z0-9]{1,8}\\.[a-z]{2,5}|localhost)(:[1-9][0-9]{0,3})?",
        path in "[a-z0-9]{1,6}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,6}){0,3}",
        tag in prop::option::of("[A-Za-z0-9_][A-Za-z0-9._-]{0,20}"),
        digest in any::<bool>(),
    ) {
        let tag = tag.map(|tag| format!(":{tag}")).unwrap_or_default();
        let text = format!("{host}/{path}{tag}{}", if digest { format!("@{ID}") } else { String::new() });
        let reference: Reference = text.parse().unwrap();
        prop_assert_eq!(reference.to_string(), text);
        prop_assert_eq!(reference.registry(), host);
    }

    #[test]
    fn any_text_is_parsed_or_refused_inside_its_length(text in ".{0,60}") {
        match text.parse::<Reference>() {
            Ok(reference) => {
                let again: Reference = reference.to_string().parse().unwrap();
                prop_assert_eq!(again, reference);
            }
            Err(error) => prop_assert!(error.position <= text.len()),
        }
    }

    #[test]
    fn any_digest_text_is_parsed_or_refused_inside_its_length(text in "(sha256:|sha512:|md5:|)[0-9a-gA-F:]{0,130}") {
        match text.parse::<Digest>() {
            Ok(digest) => prop_assert_eq!(digest.as_str(), text),
            Err(error) => prop_assert!(error.position <= text.len()),
        }
    }
}
