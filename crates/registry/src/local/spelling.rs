//! How a path that is there is written as a location, for errors about one that was written otherwise.

use std::fs;
use std::path::Path;

use crate::local::compressed::is_compressed;
use crate::local::extents::Members;
use crate::location::Location;

/// What is at `text`, or at what of it stands before a tag, and how it is named. `None` when nothing is.
pub(crate) fn of_path(text: &str) -> Option<String> {
    let last = text.rfind('/').map_or(0, |slash| slash + 1);
    let before_tag = text[last..].find([':', '@']).map(|at| &text[..last + at]);
    [Some(text), before_tag].into_iter().flatten().find_map(|path| of(Path::new(path)))
}

/// The same for a path that a location calls a folder and that is a file, or the other way round.
pub(super) fn of_wrong_kind(location: &Location) -> Option<String> {
    match location {
        Location::OciDir { path, .. } if path.is_file() => of(path),
        Location::OciDir { path, .. } if path.is_dir() && !is_layout(path) => of(path),
        Location::OciArchive { path, .. } | Location::DockerArchive { path, .. } if path.is_dir() => of(path),
        _ => None,
    }
}

fn is_layout(folder: &Path) -> bool {
    folder.join("oci-layout").is_file()
}

fn of(path: &Path) -> Option<String> {
    let shown = path.display();
    let metadata = fs::metadata(path).ok()?;
    if metadata.is_dir() {
        return Some(match is_layout(path) {
            true => {
                format!("{shown} is an OCI layout in a folder: write oci:{shown}, with :TAG for one image")
            }
            false => format!("{shown} is a folder without an OCI layout (it has no file oci-layout)"),
        });
    }
    if !metadata.is_file() {
        return None;
    }
    // The headers of a plain archive are read without its content; a compressed one would have to be
    // unpacked.
    let is_plain =
        fs::File::open(path).and_then(|file| is_compressed(&file)).is_ok_and(|compressed| !compressed);
    let members = if is_plain { Members::scan(path).ok() } else { None };
    let has = |name: &str| members.as_ref().is_some_and(|members| members.get(name).is_some());
    Some(match (has("manifest.json"), has("oci-layout")) {
        (true, _) => format!("{shown} is an archive as docker save writes it: write docker-archive:{shown}"),
        (false, true) => format!("{shown} is an archive of an OCI layout: write oci-archive:{shown}"),
        (false, false) => format!(
            "{shown} is a file: an archive is written docker-archive:{shown} or oci-archive:{shown}, by who made it"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(path: &Path, names: &[&str]) {
        let mut builder = tar::Builder::new(fs::File::create(path).unwrap());
        for name in names {
            let mut header = tar::Header::new_ustar();
            header.set_size(2);
            builder.append_data(&mut header, name, &b"{}"[..]).unwrap();
        }
        builder.finish().unwrap();
    }

    #[test]
    fn what_is_at_a_path_is_named_with_how_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("layout")).unwrap();
        fs::write(at("layout/oci-layout"), "{}").unwrap();
        fs::create_dir_all(at("other")).unwrap();
        archive(&at("save.tar"), &["manifest.json", "oci-layout"]);
        archive(&at("oci.tar"), &["oci-layout", "index.json"]);
        fs::write(at("save.tar.gz"), [0x1f, 0x8b, 8, 0]).unwrap();
        for (name, told) in [
            ("layout", "write oci:"),
            ("layout:v1", "write oci:"),
            ("other", "without an OCI layout"),
            ("save.tar", "write docker-archive:"),
            ("oci.tar", "write oci-archive:"),
            ("save.tar.gz", "docker-archive:"),
        ] {
            let found = of_path(&at(name).display().to_string()).unwrap_or_default();
            assert!(found.contains(told), "{name}: {found}");
        }
        assert_eq!(of_path(&at("nothing").display().to_string()), None);
        assert_eq!(of_path("/dev/null"), None);
        let archive: Location = format!("oci-archive:{}", at("layout").display()).parse().unwrap();
        assert!(of_wrong_kind(&archive).unwrap().contains("write oci:"));
        let layout: Location = format!("oci:{}", at("save.tar").display()).parse().unwrap();
        assert!(of_wrong_kind(&layout).unwrap().contains("write docker-archive:"));
    }
}
