//! Manifests, indexes and configs, edited as documents.

use proptest::prelude::*;
use unbloat_oci::{
    AnyManifest, Descriptor, Digest, Document, DocumentError, EntryKind, Family, HistoryEntry, ImageConfig,
    Index, Manifest, MediaType, NewLayer, Refusal, media_type,
};

const ID: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn manifest_text(extra: &str) -> String {
    format!(
        r#"{{
   "schemaVersion": 2,
   "mediaType": "application/vnd.oci.image.manifest.v1+json",
   "config": {{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{ID}","size":10, "x-own": 1.50}},
   "layers": [
      {{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{ID}","size":1,"annotations":{{"k":"\u00e9\/"}} }},
      {{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{ID}","size":2}}
   ],
   "annotations": {{"org.opencontainers.image.base.name":"b","org.opencontainers.image.base.digest":"d","keep":"\u0041"}}{extra}
}}"#
    )
}

fn parse(text: &str) -> Result<AnyManifest, DocumentError> {
    AnyManifest::parse(None, text.as_bytes())
}

fn config(history: &str, count: usize) -> String {
    let ids = vec![format!("\"{ID}\""); count].join(", ");
    format!(
        r#"{{"created":"2024-01-02T03:04:05Z", "architecture":"amd64","os":"linux","config":{{"Env":["A=\u0041"],"Memory":1e3}},"rootfs":{{"type":"layers", "diff_ids":[{ids}],"x":[ ]}},"history":[{history}],"x-unknown":{{"n":123456789012345678901234567890}}}}"#
    )
}

const HISTORY: &str = r#"{"created":"c0","created_by":"ADD \u0041"},{"created_by":"ENV","empty_layer":true},{"created_by":"RUN 1", "x": 1},{"created_by":"CMD","empty_layer":true},{"created_by":"RUN 2"}"#;

fn layer() -> NewLayer {
    NewLayer { diff_id: Digest::sha256_of(b"new"), created_by: "unbloat squash".to_owned(), comment: None }
}

#[test]
fn a_manifest_that_is_only_read_keeps_its_bytes() {
    let text = manifest_text("");
    let manifest = Manifest::parse(None, text.as_bytes()).unwrap();
    assert_eq!(manifest.to_bytes(), text.as_bytes());
    assert_eq!(manifest.layers().len(), 2);
}

#[test]
fn kept_layers_and_unknown_fields_keep_their_bytes_when_the_rest_changes() {
    let mut manifest = Manifest::parse(None, manifest_text(",\"x-own\": [1.0, 2e5]").as_bytes()).unwrap();
    let new = Descriptor::of(Family::Oci.layer(unbloat_oci::Codec::Gzip).unwrap(), b"x");
    manifest.set_layers(vec![manifest.layers()[0].clone(), new]);
    manifest.remove_base_annotations().unwrap();
    manifest.set_annotation("dev.unbloat.source", "s").unwrap();
    let text = String::from_utf8(manifest.to_bytes()).unwrap();
    assert!(text.contains(r#""annotations":{"k":"\u00e9\/"} }"#), "{text}");
    assert!(text.contains(r#""x-own": 1.50}"#), "{text}");
    assert!(text.contains(r#""x-own":[1.0, 2e5]"#), "{text}");
    assert!(text.contains(r#""annotations":{"keep":"\u0041","dev.unbloat.source":"s"}"#), "{text}");
    assert_eq!(Manifest::parse(None, text.as_bytes()).unwrap(), manifest);
}

#[test]
fn a_manifest_changes_its_family_with_config_and_layers_and_back() {
    let text = manifest_text("");
    let mut manifest = Manifest::parse(None, text.as_bytes()).unwrap();
    manifest.set_family(Family::Docker).unwrap();
    assert_eq!(manifest.media_type().as_str(), media_type::DOCKER_MANIFEST);
    assert_eq!(manifest.config().media_type().as_str(), media_type::DOCKER_CONFIG);
    assert!(
        manifest.layers().iter().all(|layer| layer.media_type().as_str() == media_type::DOCKER_LAYER_GZIP)
    );
    let again = Manifest::parse(None, &manifest.to_bytes()).unwrap();
    assert_eq!(again.family(), Family::Docker);
    manifest.set_family(Family::Oci).unwrap();
    assert_eq!(manifest.layers()[0].media_type().as_str(), "application/vnd.oci.image.layer.v1.tar+gzip");
}

#[test]
fn docker_has_no_zstd_layers() {
    let text = manifest_text("").replacen("tar+gzip", "tar+zstd", 1);
    let mut manifest = Manifest::parse(None, text.as_bytes()).unwrap();
    assert_eq!(manifest.set_family(Family::Docker).unwrap_err().0, 0);
    assert_eq!(manifest.to_bytes(), text.as_bytes(), "a refused change changes nothing");
}

#[test]
fn schema_1_artifacts_and_unknown_types_are_refused_with_their_reason() {
    let schema1 = r#"{"schemaVersion":1,"name":"a","tag":"t","fsLayers":[],"history":[]}"#;
    assert!(parse(schema1).unwrap_err().to_string().contains("schema 1"));
    let announced = MediaType::new(media_type::DOCKER_SCHEMA1[0]);
    assert!(matches!(
        AnyManifest::parse(Some(&announced), schema1.as_bytes()),
        Err(DocumentError::Refused(Refusal::Schema1))
    ));
    let artifact =
        r#"{"mediaType":"application/vnd.oci.artifact.manifest.v1+json","artifactType":"a/b","blobs":[]}"#;
    assert!(matches!(parse(artifact), Err(DocumentError::Refused(Refusal::Artifact { .. }))));
    let unknown = manifest_text("").replace("application/vnd.oci.image.manifest.v1+json", "x/y");
    assert!(matches!(parse(&unknown), Err(DocumentError::Refused(Refusal::UnknownManifest { .. }))));
    let chart = manifest_text("").replace("vnd.oci.image.config.v1+json", "vnd.cncf.helm.config.v1+json");
    let chart = Manifest::parse(None, chart.as_bytes()).unwrap();
    assert!(matches!(chart.require_image(), Err(Refusal::Artifact { .. })));
}

#[test]
fn a_document_that_is_two_things_is_refused() {
    assert!(parse(&manifest_text(",\"manifests\": []")).is_err());
    let text = manifest_text("");
    let announced = Family::Oci.index();
    assert!(AnyManifest::parse(Some(&announced), text.as_bytes()).is_err());
    assert!(parse(&manifest_text(",\"layers\": []")).is_err(), "one key twice");
    let announced = MediaType::new("application/json; charset=utf-8");
    assert!(AnyManifest::parse(Some(&announced), text.as_bytes()).is_ok());
}

#[test]
fn a_malformed_descriptor_says_which_one() {
    let negative = parse(&manifest_text("").replace("\"size\":2", "\"size\":-2")).unwrap_err();
    assert!(negative.to_string().contains("layers[1]"), "{negative}");
    let traversal = parse(&manifest_text("").replacen(ID, "sha256:../../x", 1)).unwrap_err();
    assert!(traversal.to_string().contains("config"), "{traversal}");
}

#[test]
fn entries_of_an_index_are_told_apart() {
    let entry = |extra: &str| {
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{ID}","size":1{extra}}}"#
        )
    };
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{},{},{},{}]}}"#,
        entry(r#","platform":{"os":"linux","architecture":"arm64","variant":"v8"}"#),
        entry(&format!(
            r#","platform":{{"os":"unknown","architecture":"unknown"}},"annotations":{{"vnd.docker.reference.type":"attestation-manifest","vnd.docker.reference.digest":"{ID}"}}"#
        )),
        entry(r#","artifactType":"application/spdx+json""#),
        entry("").replace("image.manifest", "image.index"),
    );
    let index = Index::parse(None, text.as_bytes()).unwrap();
    let kinds: Vec<EntryKind> = index.manifests().iter().map(Descriptor::kind).collect();
    assert!(
        matches!(&kinds[0], EntryKind::Image(Some(platform)) if platform.to_string() == "linux/arm64/v8")
    );
    assert_eq!(kinds[1], EntryKind::Attestation { of: Some(ID.parse().unwrap()) });
    assert!(matches!(kinds[2], EntryKind::Artifact { .. }));
    assert_eq!(kinds[3], EntryKind::Index);
    assert_eq!(index.find(&"linux/arm64".parse().unwrap()), Some(&index.manifests()[0]));
    assert_eq!(index.find(&"linux/amd64".parse().unwrap()), None);
}

#[test]
fn a_full_squash_leaves_one_history_entry_and_everything_else_as_it_was() {
    let source = config(HISTORY, 3);
    let mut edited = ImageConfig::parse(source.as_bytes()).unwrap();
    edited.squash(0, Some(&layer())).unwrap();
    let text = String::from_utf8(edited.to_bytes()).unwrap();
    let id = Digest::sha256_of(b"new");
    let expected = format!(
        r#"{{"created":"2024-01-02T03:04:05Z","architecture":"amd64","os":"linux","config":{{"Env":["A=\u0041"],"Memory":1e3}},"rootfs":{{"type":"layers","diff_ids":["{id}"],"x":[ ]}},"history":[{{"created":"2024-01-02T03:04:05Z","created_by":"unbloat squash"}}],"x-unknown":{{"n":123456789012345678901234567890}}}}"#
    );
    assert_eq!(text, expected);
}

#[test]
fn a_kept_base_keeps_its_history_with_the_steps_between() {
    let mut edited = ImageConfig::parse(config(HISTORY, 3).as_bytes()).unwrap();
    edited.squash(2, Some(&layer())).unwrap();
    let texts: Vec<&str> = edited.history().iter().map(|entry| entry.raw().get()).collect();
    assert_eq!(texts.len(), 4);
    assert_eq!(texts[0], r#"{"created":"c0","created_by":"ADD \u0041"}"#);
    assert_eq!(texts[2], r#"{"created_by":"RUN 1", "x": 1}"#);
    assert_eq!(edited.diff_ids().len(), 3);
    assert_eq!(edited.layer_history(), Some(vec![0, 2, 3]));
}

#[test]
fn a_history_that_does_not_agree_is_made_to_agree() {
    for history in ["", HISTORY] {
        let mut edited = ImageConfig::parse(config(history, 5).as_bytes()).unwrap();
        assert_eq!(edited.layer_history(), None);
        edited.squash(2, Some(&layer())).unwrap();
        assert_eq!(edited.layer_history(), Some(vec![0, 1, 2]));
    }
    let mut edited = ImageConfig::parse(config(HISTORY, 3).as_bytes()).unwrap();
    assert!(edited.squash(4, None).is_err());
}

#[test]
fn a_layer_on_top_adds_one_entry() {
    let mut edited = ImageConfig::parse(config(HISTORY, 3).as_bytes()).unwrap();
    edited.append(&layer()).unwrap();
    assert_eq!((edited.history().len(), edited.diff_ids().len()), (6, 4));
    assert_eq!(edited.layer_history(), Some(vec![0, 2, 4, 5]));
}

#[test]
fn windows_is_refused() {
    let text = config(HISTORY, 3).replace("\"linux\"", "\"windows\"");
    assert_eq!(ImageConfig::parse(text.as_bytes()).unwrap().require_supported(), Err(Refusal::Windows));
}

#[test]
fn a_config_past_the_limit_is_not_parsed() {
    let text = format!("{{\"x\":\"{}\"}}", "a".repeat(9 << 20));
    assert!(matches!(ImageConfig::parse(text.as_bytes()), Err(DocumentError::TooLarge { .. })));
}

/// JSON text with odd spacing, numbers and escapes, which no typed round trip would keep.
fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,10})?([eE][+-]?[0-9]{1,2})?",
        r#""([a-z é]|\\u00[0-9a-f]{2}|\\/|\\n){0,8}""#,
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[ {}]", items.join(" ,"))),
            prop::collection::vec(inner, 0..4).prop_map(|items| {
                let members: Vec<String> =
                    items.iter().enumerate().map(|(at, item)| format!("\"k\\u00e9{at}\" :{item}")).collect();
                format!("{{{} }}", members.join(", "))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn any_document_that_was_not_edited_keeps_its_bytes(values in prop::collection::vec(json_text(), 0..6)) {
        let members: Vec<String> = values.iter().enumerate().map(|(at, value)| format!(" \"m{at}\" : {value}")).collect();
        let text = format!("{{{}\n}}", members.join(","));
        let mut document = Document::parse("test", text.as_bytes(), 1 << 20).unwrap();
        prop_assert_eq!(document.to_bytes(), text.as_bytes());
        document.set("new", &1);
        document.remove("m0");
        for (at, value) in values.iter().enumerate().skip(1) {
            prop_assert_eq!(document.raw(&format!("m{at}")).unwrap().get(), value.as_str());
        }
        let again = Document::parse("test", &document.to_bytes(), 1 << 20).unwrap();
        for (at, value) in values.iter().enumerate().skip(1) {
            prop_assert_eq!(again.raw(&format!("m{at}")).unwrap().get(), value.as_str());
        }
    }

    #[test]
    fn squashing_a_config_keeps_all_other_members(value in json_text(), kept in 0_usize..4) {
        let text = config(HISTORY, 3).replace("\"x-unknown\"", &format!("\"x-more\": {value},\"x-unknown\""));
        let mut edited = ImageConfig::parse(text.as_bytes()).unwrap();
        let layer = layer();
        edited.squash(kept, (kept < 3).then_some(&layer)).unwrap();
        let again = ImageConfig::parse(&edited.to_bytes()).unwrap();
        prop_assert_eq!(again.document().raw("x-more").unwrap().get(), value.as_str());
        prop_assert_eq!(again.layer_history().map(|of| of.len()), Some(again.diff_ids().len()));
        prop_assert_eq!(again.to_bytes(), edited.to_bytes());
    }

    #[test]
    fn no_bytes_make_parsing_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = AnyManifest::parse(None, &bytes);
        let _ = ImageConfig::parse(&bytes);
    }

    #[test]
    fn a_history_entry_says_what_it_was_given(by in ".{0,40}", comment in prop::option::of(".{0,10}")) {
        let entry = HistoryEntry::new(None, &by, comment.as_deref(), true);
        let value: serde_json::Value = serde_json::from_str(entry.raw().get()).unwrap();
        prop_assert_eq!(value["created_by"].as_str(), Some(by.as_str()));
        prop_assert_eq!(value["empty_layer"].as_bool(), Some(true));
    }
}
