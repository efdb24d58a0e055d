//! What a location names: one image, or the images of an index, with what stands beside them. Every command
//! opens its images here, so that a platform means the same to all of them.
//!
//! # Rules
//! - Without a platform, an index means all its images. A command that can do but one takes the only one
//!   there is, else the machine's own.
//! - A platform comes from the index's entry, and where that has none from the image's config.
//! - A platform that is named has to be there, also in an image that is of no index; the refusal lists what
//!   there is.
//! - Indexes inside indexes are followed.
//! - Attestations speak of digests that a new image does not have: who writes one leaves them out, and says
//!   so.

use unbloat_oci::{AnyManifest, Descriptor, EntryKind, ImageConfig, Index, Manifest, Platform};
use unbloat_registry::{Fetched, Source};

use crate::error::Error;
use crate::image::Image;

/// Indexes inside indexes that are followed.
const MAX_DEPTH: usize = 4;

/// What was found at a location.
pub(crate) struct Found {
    /// What the location itself names.
    pub(crate) fetched: Fetched,
    /// The images that were asked for, in their order.
    pub(crate) images: Vec<Image>,
    /// The index, and the indexes in it; `None` for an image alone.
    pub(crate) index: Option<Node>,
    /// Attestations that a new index leaves out.
    pub(crate) attestations: Vec<Descriptor>,
    /// Platforms that were not asked for.
    pub(crate) others: Vec<Platform>,
}

/// An index with its entries.
pub(crate) struct Node {
    /// Its entry in the index around it; `None` for the outermost.
    pub(crate) entry: Option<Descriptor>,
    pub(crate) index: Index,
    pub(crate) children: Vec<Child>,
}

/// An entry of an index.
pub(crate) enum Child {
    /// An image by its place in a list.
    Image(usize),
    /// Another index.
    Index(Node),
    /// Something that is no image and stays as it is.
    Artifact(Descriptor),
}

/// Which images are wanted.
#[derive(Clone, Copy)]
pub(crate) enum Wanted<'a> {
    /// These platforms; all there are if there is none in the list.
    Platforms(&'a [Platform]),
    /// One image: of this platform, or the only one, or the machine's own.
    One(Option<&'a Platform>),
}

/// An image of an index before it is read.
struct Candidate {
    descriptor: Descriptor,
    platform: Platform,
    fetched: Option<Fetched>,
}

/// Opens what `source` names.
pub(crate) async fn open(source: &Source, wanted: Wanted<'_>, allow_foreign: bool) -> Result<Found, Error> {
    let fetched = source.resolve().await?;
    let what = || format!("{} ({})", source.location(), fetched.descriptor.digest());
    let parsed = fetched.parse().map_err(|source| Error::Document { what: what(), source })?;
    let AnyManifest::Index(index) = parsed else {
        let image = Image::read(source, &fetched, allow_foreign).await?;
        let named = match wanted {
            Wanted::Platforms(list) => list,
            Wanted::One(one) => one.map(std::slice::from_ref).unwrap_or_default(),
        };
        let has = image.config.platform();
        if !named.is_empty() && !named.iter().any(|wanted| has.rank_for(wanted).is_some()) {
            return Err(absent(&what(), &named[0], std::slice::from_ref(&has)));
        }
        return Ok(Found {
            fetched,
            images: vec![image],
            index: None,
            attestations: Vec::new(),
            others: Vec::new(),
        });
    };
    let mut reading = Reading { source, candidates: Vec::new(), attestations: Vec::new() };
    let mut node = reading.node(None, index, 0).await?;
    let Reading { candidates, attestations, .. } = reading;
    let chosen = choose(&what(), &candidates, wanted)?;
    let mut images = Vec::new();
    let mut others = Vec::new();
    let mut places = vec![None; candidates.len()];
    for (at, candidate) in candidates.into_iter().enumerate() {
        let Candidate { descriptor, platform, fetched } = candidate;
        if !chosen.contains(&at) {
            others.push(platform);
            continue;
        }
        let fetched = match fetched {
            Some(fetched) => fetched,
            None => source.manifest(&descriptor).await?,
        };
        let mut image = Image::read(source, &fetched, allow_foreign).await?;
        image.descriptor = descriptor;
        places[at] = Some(images.len());
        images.push(image);
    }
    node.keep(&places);
    Ok(Found { fetched, images, index: Some(node), attestations, others })
}

/// The one image that a location names, for `platform` where it names several.
pub(crate) async fn single(
    source: &Source,
    platform: Option<&Platform>,
    allow_foreign: bool,
) -> Result<Image, Error> {
    single_of_several(source, platform, allow_foreign).await.map(|(image, _)| image)
}

/// The same, and the platforms that stand beside it.
pub(crate) async fn single_of_several(
    source: &Source,
    platform: Option<&Platform>,
    allow_foreign: bool,
) -> Result<(Image, Vec<Platform>), Error> {
    let mut found = open(source, Wanted::One(platform), allow_foreign).await?;
    let image = found.images.pop();
    image.map(|image| (image, found.others)).ok_or_else(|| Error::Internal("no image was chosen".into()))
}

/// `--platform` arguments.
pub(crate) fn parse_platforms(texts: &[String]) -> Result<Vec<Platform>, Error> {
    let parse =
        |text: &String| text.parse().map_err(|error| Error::Request(format!("--platform {text}: {error}")));
    texts.iter().map(parse).collect()
}

impl Found {
    /// What a command says that makes a new index without the attestations of the old one.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let warn = |attestation: &Descriptor| {
            format!(
                "attestation {} is left out: it is about a digest that the result does not have",
                attestation.digest()
            )
        };
        self.attestations.iter().map(warn).collect()
    }
}

impl Node {
    /// Leaves out images that were not chosen, and renames the others.
    fn keep(&mut self, places: &[Option<usize>]) {
        let children = std::mem::take(&mut self.children);
        for child in children {
            match child {
                Child::Image(at) => self.children.extend(places[at].map(Child::Image)),
                Child::Index(mut node) => {
                    node.keep(places);
                    if !node.children.is_empty() {
                        self.children.push(Child::Index(node));
                    }
                }
                artifact @ Child::Artifact(_) => self.children.push(artifact),
            }
        }
    }
}

struct Reading<'a> {
    source: &'a Source,
    candidates: Vec<Candidate>,
    attestations: Vec<Descriptor>,
}

impl Reading<'_> {
    async fn node(&mut self, entry: Option<Descriptor>, index: Index, depth: usize) -> Result<Node, Error> {
        let mut children = Vec::new();
        for descriptor in index.manifests() {
            match descriptor.kind() {
                EntryKind::Attestation { .. } => self.attestations.push(descriptor.clone()),
                EntryKind::Artifact { .. } => children.push(Child::Artifact(descriptor.clone())),
                EntryKind::Index if depth >= MAX_DEPTH => {
                    return Err(Error::Unsupported(format!(
                        "{}: indexes are nested more than {MAX_DEPTH} deep",
                        descriptor.digest()
                    )));
                }
                EntryKind::Index => {
                    let fetched = self.source.manifest(descriptor).await?;
                    let what = format!("index {} of {}", descriptor.digest(), self.source.location());
                    let inner = Index::parse(Some(fetched.descriptor.media_type()), &fetched.bytes)
                        .map_err(|source| Error::Document { what, source })?;
                    let inner = Box::pin(self.node(Some(descriptor.clone()), inner, depth + 1)).await?;
                    children.push(Child::Index(inner));
                }
                EntryKind::Image(platform) => {
                    let candidate = self.candidate(descriptor, platform).await?;
                    children.push(Child::Image(self.candidates.len()));
                    self.candidates.push(candidate);
                }
            }
        }
        Ok(Node { entry, index, children })
    }

    async fn candidate(&self, entry: &Descriptor, platform: Option<Platform>) -> Result<Candidate, Error> {
        if let Some(platform) = platform {
            return Ok(Candidate { descriptor: entry.clone(), platform, fetched: None });
        }
        let fetched = self.source.manifest(entry).await?;
        let what = |kind: &str| format!("{kind} of {} at {}", entry.digest(), self.source.location());
        let manifest = Manifest::parse(Some(fetched.descriptor.media_type()), &fetched.bytes)
            .map_err(|source| Error::Document { what: what("manifest"), source })?;
        manifest
            .require_image()
            .map_err(|refusal| Error::Unsupported(format!("{}: {refusal}", what("manifest"))))?;
        let config = self.source.config(manifest.config()).await?;
        let config =
            ImageConfig::parse(&config).map_err(|source| Error::Document { what: what("config"), source })?;
        Ok(Candidate { descriptor: entry.clone(), platform: config.platform(), fetched: Some(fetched) })
    }
}

/// Which candidates are wanted.
fn choose(what: &str, candidates: &[Candidate], wanted: Wanted<'_>) -> Result<Vec<usize>, Error> {
    let platforms: Vec<Platform> = candidates.iter().map(|candidate| candidate.platform.clone()).collect();
    if platforms.is_empty() {
        return Err(Error::Unsupported(format!("{what} is an index without an image")));
    }
    let best = |wanted: &Platform| {
        Platform::best(wanted, &platforms).ok_or_else(|| absent(what, wanted, &platforms))
    };
    match wanted {
        Wanted::Platforms([]) => Ok((0..platforms.len()).collect()),
        Wanted::Platforms(list) => {
            let mut chosen = list.iter().map(best).collect::<Result<Vec<_>, _>>()?;
            // Further images of the very same platform, such as one for each codec.
            for (at, platform) in platforms.iter().enumerate() {
                if list.iter().any(|wanted| platform.is(wanted)) {
                    chosen.push(at);
                }
            }
            Ok(chosen)
        }
        Wanted::One(Some(platform)) => Ok(vec![best(platform)?]),
        Wanted::One(None) if platforms.len() == 1 => Ok(vec![0]),
        Wanted::One(None) => Ok(vec![best(&Platform::host())?]),
    }
}

fn absent(what: &str, wanted: &Platform, has: &[Platform]) -> Error {
    let has: Vec<String> = has.iter().map(ToString::to_string).collect();
    let (verb, advice) = match has.as_slice() {
        [_] => ("is", "leave --platform out"),
        _ => ("has", "name one with --platform"),
    };
    let list = has.join(", ");
    Error::Request(match verb {
        "is" => format!("{what} has no image for {wanted}: it is for {list} only; {advice}"),
        _ => format!("{what} has no image for {wanted}; it has {list}: {advice}"),
    })
}
