//! Whether a squash would have nothing to do.

use crate::ImageSquashJobSpec;
use crate::squash_job::{Compression, Format};

/// The number of layers a platform up to which an image is what the job asks for already; `None` if it never is.
///
/// Only what a manifest tells is looked at: with a base image, or with anything to remove, encode or convert, a squash has
/// something to do.
pub fn flat_up_to(spec: &ImageSquashJobSpec) -> Option<u32> {
    let base = match &spec.base {
        None => 0,
        Some(base) if base.image.is_some() => return None,
        Some(base) => base.layers.and_then(|layers| u32::try_from(layers).ok()).unwrap_or(0),
    };
    let as_it_is = spec.remove.is_empty()
        && spec.truncate.is_empty()
        && spec.platforms.is_empty()
        && spec.compression == Compression::Keep
        && spec.format == Format::Keep;
    as_it_is.then_some(base + 1)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn limit(extra: &Value) -> Option<u32> {
        let mut spec = json!({"source": {"image": "a.example/b:c"}, "target": {"moveTag": true}});
        spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        flat_up_to(&serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn an_image_is_flat_only_when_nothing_at_all_is_to_be_done() {
        assert_eq!(limit(&json!({})), Some(1));
        assert_eq!(limit(&json!({"base": {"layers": 3}})), Some(4));
        for asked in [
            json!({"base": {"image": "x"}}),
            json!({"remove": ["/x"]}),
            json!({"truncate": ["/x"]}),
            json!({"platforms": ["linux/amd64"]}),
            json!({"compression": "Zstd"}),
            json!({"format": "OCI"}),
        ] {
            assert_eq!(limit(&asked), None, "{asked}");
        }
    }
}
