//! One file out of a layer.

use std::path::Path;

use unbloat_explore::{Content, ExtractError, Extraction, copy_content};
use unbloat_layers::LayerSource;

mod tars;
use tars::{Tar, source};

fn extract(content: Content, extraction: &Extraction) -> Result<Vec<u8>, ExtractError> {
    let layers = source(vec![Tar::default().file("a", b"first").folder("d").file("d/b", b"second").end()]);
    let mut bytes = Vec::new();
    let stream = layers.open(0).expect("it is in memory");
    copy_content(stream, content, Path::new("out"), &mut bytes, extraction).map(|()| bytes)
}

#[test]
fn the_record_that_is_asked_for_comes_out() {
    let content = Content { layer: 0, record: 2, bytes: 6 };
    assert_eq!(extract(content, &Extraction::default()).unwrap(), b"second");
}

#[test]
fn another_record_in_its_place_is_told_and_not_written() {
    for content in [Content { layer: 0, record: 1, bytes: 6 }, Content { layer: 0, record: 2, bytes: 5 }] {
        let error = extract(content, &Extraction::default()).unwrap_err();
        assert_eq!(error.to_string(), "layer 0 cannot be read again");
        let cause = std::error::Error::source(&error).expect("it has a cause").to_string();
        assert_eq!(cause, "the layer was different when it was read again");
    }
    let beyond = Content { layer: 0, record: 9, bytes: 6 };
    assert!(extract(beyond, &Extraction::default()).is_err());
}

#[test]
fn it_can_be_stopped() {
    let extraction = Extraction::default();
    extraction.stop();
    let content = Content { layer: 0, record: 2, bytes: 6 };
    assert!(matches!(extract(content, &extraction), Err(ExtractError::Stopped)));
}
