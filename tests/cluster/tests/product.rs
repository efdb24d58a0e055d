//! The project's own images on a real node: they run where nothing is allowed.

use std::time::Duration;

use serde_json::json;
use unbloat_cluster::fixture::{container, job};
use unbloat_cluster::{Cluster, Image, Result};

#[tokio::test]
async fn the_images_run_as_nobody_on_a_read_only_file_system() -> Result<()> {
    let cluster = Cluster::shared().await?;
    cluster.restricted_namespace("product").await?;
    let mut images = Vec::new();
    for program in ["worker", "operator"] {
        images.push((program, format!("{program}-without-daemon"), Image::of_product(program).await?));
        if let Some(folder) = std::env::var_os("UNBLOAT_IMAGES_FROM_DOCKERFILE") {
            let image = Image::from_layout(std::path::Path::new(&folder).join(program));
            images.push((program, format!("{program}-from-dockerfile"), image));
        }
    }
    for (program, name, image) in images {
        let reference = format!("unbloat.local/{name}:test");
        cluster.load_image(&image, &reference).await?;
        let mut shipped = container("");
        shipped["image"] = json!(reference);
        // Their own entrypoint, which is what production runs.
        shipped.as_object_mut().expect("a container is an object").remove("command");
        shipped["args"] = json!(["--version"]);
        cluster.apply(&job("product", &name, shipped).to_string()).await?;
        let end = cluster.wait_for_job_end("product", &name, Duration::from_secs(60)).await?;
        assert_eq!(end.exit_code, Some(0), "{end:?}");
        let log = cluster.kubectl(&["logs", "--namespace=product", &format!("job/{name}")]).await?;
        assert!(log.starts_with(&format!("unbloat-{program} ")), "{log}");
    }
    Ok(())
}
