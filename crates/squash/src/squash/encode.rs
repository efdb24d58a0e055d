//! The new layer: merged, compressed and sent, all at once; and made again where the registry lost it.

use tokio::sync::mpsc::Receiver;
use unbloat_layers::{Summary, merge};
use unbloat_oci::{Codec, Descriptor};
use unbloat_registry::{BlobUpload, Destination, Remakes, UploadOptions};

use super::Squash;
use super::plan::Plan;
use crate::cache::HeaderCache;
use crate::codec::Settings;
use crate::diff_ids::DiffIds;
use crate::error::{Error, OutputError, layer_error};
use crate::output::{self, Compressed, Encoded};
use crate::source::Layers;

impl Squash<'_> {
    /// Merges the layers into a new blob at the destination.
    pub(super) async fn make_layer(
        &self,
        layers: &[Descriptor],
        plan: &Plan,
        diff_ids: &DiffIds,
    ) -> Result<(Encoded, Summary), Error> {
        let Plan { kept, codec, family: _ } = *plan;
        let options = self.merge_options(kept);
        let settings = Settings::new(codec, self.request.level, self.request.limits.encoders())?;
        let mut remakes = self.destination.map(Destination::remakes);
        loop {
            let prefetch = self.request.limits.prefetch_bytes();
            let cache = self.request.limits.cache.as_deref().map(HeaderCache::new);
            let source = Layers::new(self.source, layers, codec == Codec::Gzip, prefetch, self.progress)
                .with_windows(self.request.limits.memory_bytes)
                .with_cache(cache, kept)
                .with_diff_ids(diff_ids);
            let (mut batches, buffers, thread) = output::start(settings, self.progress);
            let (count, options) = (layers.len(), options.clone());
            let merging = tokio::task::spawn_blocking(move || {
                let summary = merge(&source, count, &options, &mut batches)?;
                batches.end().map_err(unbloat_layers::Error::Output)?;
                Ok(summary)
            });
            let (merged, uploaded) = tokio::join!(merging, self.upload(buffers));
            let upload = match uploaded {
                Ok(upload) => upload,
                // The registry lost what it had of the layer, or refused the way it came: the same layer once
                // more.
                Err(error) if again(&mut remakes, &error).await => continue,
                Err(error) => return Err(error.into()),
            };
            let merged = merged.map_err(|panic| Error::Internal(panic.to_string()))?;
            let encoded = tokio::task::spawn_blocking(move || thread.join())
                .await
                .map_err(|panic| Error::Internal(panic.to_string()))?
                .map_err(|_| Error::Internal("the codec's thread panicked".into()))?;
            let summary = match merged {
                Ok(summary) => summary,
                Err(unbloat_layers::Error::Output(cause)) => {
                    return Err(match (encoded, self.progress.is_cancelled()) {
                        (_, true) => Error::Cancelled,
                        (Err(reason), false) => Error::Output(reason),
                        (Ok(_), false) => Error::Output(OutputError::of(cause)),
                    });
                }
                Err(error) => return Err(layer_error(error, layers, self.progress)),
            };
            let encoded = encoded.map_err(Error::Output)?;
            let encoded = encoded.ok_or_else(|| Error::Internal("the merged stream was cut off".into()))?;
            if let Some(upload) = upload
                && let Err(error) = upload.finish(Some(encoded.digest.clone())).await
            {
                if again(&mut remakes, &error).await {
                    continue;
                }
                return Err(error.into());
            }
            return Ok((encoded, summary));
        }
    }

    /// Sends what the codec makes, until it ends; a blob that begins anew is another upload. When this ends,
    /// so does the queue: a failed upload must not leave the codec waiting for room.
    async fn upload(
        &self,
        mut buffers: Receiver<Compressed>,
    ) -> Result<Option<BlobUpload>, unbloat_registry::Error> {
        let begin = async || match self.destination {
            Some(destination) => destination.upload(UploadOptions { hash: false }).await.map(Some),
            None => Ok(None),
        };
        let mut upload = begin().await?;
        while let Some(compressed) = buffers.recv().await {
            match compressed {
                Compressed::Restart => {
                    drop(upload.take());
                    upload = begin().await?;
                }
                Compressed::Bytes(bytes) => {
                    self.progress.wrote(bytes.len());
                    if let Some(upload) = &mut upload {
                        upload.write(bytes).await?;
                    }
                }
            }
        }
        Ok(upload)
    }
}

/// Whether to make a layer again after a failed upload.
async fn again(remakes: &mut Option<Remakes>, error: &unbloat_registry::Error) -> bool {
    match remakes {
        Some(remakes) => remakes.again(error).await,
        None => false,
    }
}
