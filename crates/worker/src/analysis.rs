//! The analysis of an image, shortened to what a termination message holds.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use unbloat_contract::analysis::{
    AnalysisFigures, CauseFigures, MOST_CAUSES, MOST_PATHS, PathFigures, PlatformAnalysis,
};
use unbloat_contract::{AnalyzeRequest, Failure};
use unbloat_registry::Client;
use unbloat_squash::{Progress, analyze};

use crate::failure::of_engine;
use crate::source;

/// Reads the image's layers. The digest is pinned first, so that what is read is what is told.
pub(crate) async fn figures(
    client: &Client,
    request: &AnalyzeRequest,
    progress: &Arc<Progress>,
) -> Result<AnalysisFigures, Failure> {
    let started = Instant::now();
    let pinned = source::pin(client, &request.image, None).await?;
    let request = AnalyzeRequest { image: pinned.location.clone(), top: Some(MOST_PATHS), ..request.clone() };
    let analysis = analyze(client, &request, progress).await.map_err(|error| of_engine(&error))?;
    let secrets: HashSet<&str> = analysis.risks.iter().map(|risk| risk.path.as_str()).collect();
    let causes = analysis.causes.iter().take(MOST_CAUSES).map(|cause| CauseFigures {
        cause: cause.cause.clone(),
        paths: cause.paths,
        wasted_bytes: cause.wasted_bytes,
    });
    let paths = analysis.paths.iter().take(MOST_PATHS).map(|path| PathFigures {
        path: (!secrets.contains(path.path.as_str())).then(|| path.path.clone()),
        copies: u64::from(path.copies),
        wasted_bytes: path.wasted_bytes,
        cause: path.cause.clone().unwrap_or_default(),
    });
    let platform = PlatformAnalysis {
        platform: analysis.platform.clone(),
        digest: analysis.digest.clone(),
        layers: analysis.totals.layers,
        compressed_bytes: analysis.totals.compressed_bytes,
        unpacked_bytes: analysis.totals.unpacked_bytes,
        merged_bytes: analysis.totals.merged_bytes,
        wasted_bytes: analysis.totals.wasted_bytes,
        causes: causes.collect(),
        paths: paths.collect(),
    };
    Ok(AnalysisFigures {
        source_digest: pinned.digest.to_string(),
        reference: pinned.location,
        bytes_read: progress.snapshot().bytes_read,
        duration_seconds: started.elapsed().as_secs_f64(),
        warnings: analysis.warnings.clone(),
        platforms: vec![platform],
    })
}
