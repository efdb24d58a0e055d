//! The project's own images on a real node: they run where nothing is allowed.

use std::time::Duration;

use serde_json::json;
use unbloat_cluster::fixture::{container, job};
use unbloat_cluster::{Cluster, Image, Result};

#[tokio::test]
async fn the_images_run_as_nobody_on_a_read_only_file_system() -> Result<()> {
    let cluster = Cluster::shared().await?;
    cluster.restricted_namespace("product").await?;
    for name in ["worker", "operator"] {
        let image = Image::of_product(name).await?;
        let reference = format!("unbloat.local/{name}:test");
        cluster.load_image(&image, &reference).await?;
        let mut program = container("");
        program["image"] = json!(reference);
        // Their own entrypoint, which is what production runs.
        program.as_object_mut().expect("a container is an object").remove("command");
        program["args"] = json!(["--version"]);
        cluster.apply(&job("product", name, program).to_string()).await?;
        let end = cluster.wait_for_job_end("product", name, Duration::from_secs(60)).await?;
        assert_eq!(end.exit_code, Some(0), "{end:?}");
        let log = cluster.kubectl(&["logs", "--namespace=product", &format!("job/{name}")]).await?;
        assert!(log.starts_with(&format!("unbloat-{name} ")), "{log}");
    }
    Ok(())
}
