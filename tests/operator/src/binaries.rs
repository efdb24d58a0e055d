//! The programs under test: out of the images that ship, or, for quick turns while developing, as the test
//! was built.
//!
//! `UNBLOAT_TEST_PROGRAMS=dev` chooses the latter: dynamically linked, unoptimised, and larger than the
//! limits on memory that a few tests check.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use flate2::read::GzDecoder;
use serde_json::Value;
use unbloat_cluster::{Error, Image, Result};

use crate::image::program_image;

/// Whether the programs are those of the developer's own build.
pub fn are_quick() -> bool {
    std::env::var_os("UNBLOAT_TEST_PROGRAMS").is_some_and(|value| value == "dev")
}

/// The image of `worker` or `operator`; `folder` is for what has to be made.
///
/// # Errors
/// When it can't be built.
pub async fn product_image(name: &str, folder: &Path) -> Result<Image> {
    if are_quick() {
        return Ok(program_image(&binary(&format!("unbloat-{name}")), folder));
    }
    Image::of_product(name).await
}

/// The program of `worker` or `operator`, to run outside a pod; `folder` is for what has to be made.
///
/// # Errors
/// When it can't be built.
pub(crate) async fn product_program(name: &str, folder: &Path) -> Result<PathBuf> {
    if are_quick() {
        return Ok(binary(&format!("unbloat-{name}")));
    }
    let path = folder.join(format!("unbloat-{name}"));
    let image = Image::of_product(name).await?;
    let layer = layer(&image)?;
    let mut archive = tar::Archive::new(GzDecoder::new(&layer[..]));
    for entry in archive.entries().map_err(Error::io("read a layer"))? {
        let mut entry = entry.map_err(Error::io("read a layer"))?;
        if entry.path_bytes().ends_with(format!("unbloat-{name}").as_bytes()) {
            entry.unpack(&path).map_err(Error::io(format!("write {}", path.display())))?;
            return Ok(path);
        }
    }
    Err(Error::Misuse(format!("no unbloat-{name} in {}", image.folder().display())))
}

/// The compressed layer of an image that has one.
fn layer(image: &Image) -> Result<Vec<u8>> {
    let blob = |digest: &Value| {
        let name = digest.as_str().unwrap_or_default().trim_start_matches("sha256:");
        std::fs::read(image.folder().join("blobs/sha256").join(name)).map_err(Error::io("read a blob"))
    };
    let index = std::fs::read(image.folder().join("index.json")).map_err(Error::io("read an index"))?;
    let document = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap_or_default();
    let manifest = blob(&document(&index)["manifests"][0]["digest"])?;
    blob(&document(&manifest)["layers"][0]["digest"])
}

/// The command, `unbloat` or `kubectl-unbloat`: beside the one that `UNBLOAT_BIN` names, or as the test was
/// built.
///
/// # Panics
/// When it can't be built.
pub fn command(name: &str) -> PathBuf {
    match std::env::var_os("UNBLOAT_BIN") {
        Some(path) => Path::new(&path).with_file_name(name),
        None => binary(name),
    }
}

/// Path of a binary of the workspace, after building it as the test was.
fn binary(package: &str) -> PathBuf {
    // Two builds at once would wait for each other with a message on every test's output.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // With the whole workspace's features, as the tests are: else every library would be built once more.
    let status =
        unbloat_cluster::cargo().args(["build", "--quiet", "--workspace", "--bin", package]).status();
    assert!(status.is_ok_and(|status| status.success()), "cannot build {package}");
    // The test's own program is target/PROFILE/deps/NAME.
    let own = std::env::current_exe().expect("a process has a program");
    let profile = own.ancestors().nth(2).expect("it lies in target/PROFILE/deps").to_owned();
    profile.join(package)
}
