//! A source that can be read, and a target that can be written, as slowly as a test needs: so that what is
//! killed is killed in the stage that the test means.

use std::net::SocketAddr;
use std::time::Duration;

use kube::ResourceExt;
use serde_json::{Value, json};
use unbloat_cluster::{Entrance, Error, Flow, Look, Result, Tunnel};
use unbloat_contract::worker::PORT;
use unbloat_contract::{ProgressReport, Stage as Progressing};

use crate::image::Layered;
use crate::jobs::Jobs;
use crate::operator::Ground;

/// Bytes a second, each way of each connection: the source's 18 MB take longer than any test needs.
const SLOW: Flow = Flow::Slow(50_000);
const LONG: Duration = Duration::from_secs(120);

/// What a worker is doing when something happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It reads the source.
    Reading,
    /// It has read everything, and writes the result.
    Writing,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Reading, Self::Writing];

    fn name(self) -> &'static str {
        match self {
            Self::Reading => "reading",
            Self::Writing => "writing",
        }
    }
}

/// Ways to a source and to the targets of jobs, one pair for each stage.
pub struct Gates<'a> {
    ground: &'a Ground,
    reading: (Tunnel, Tunnel),
    writing: (Tunnel, Tunnel),
}

impl<'a> Gates<'a> {
    /// Pushes the source and opens the ways.
    ///
    /// # Errors
    /// When a port can't be listened on, or the registry doesn't answer.
    pub async fn open(ground: &'a Ground) -> Result<Self> {
        let image = Layered { layers: 60, step: 10_000, seed: 21, programs: true };
        let image = image.write(&ground.cluster.folder().join("slow-source"));
        ground.cluster.push(&ground.registry, &image, "slow/app:v1").await?;
        let registry: SocketAddr = ground.registry.host().parse().expect("a registry has an address");
        let way = || ground.cluster.tunnel(Entrance::Pods, registry);
        Ok(Self { ground, reading: (way()?, way()?), writing: (way()?, way()?) })
    }

    fn pair(&self, stage: Stage) -> &(Tunnel, Tunnel) {
        match stage {
            Stage::Reading => &self.reading,
            Stage::Writing => &self.writing,
        }
    }

    /// The name of the job of a case in a stage.
    pub fn name(case: &str, stage: Stage) -> String {
        format!("{case}-{}", stage.name())
    }

    /// The spec of a job that stays in this stage until [`let_go`](Self::let_go).
    pub fn spec(&self, case: &str, stage: Stage) -> Value {
        let (source, target) = self.pair(stage);
        json!({
            "source": {"image": format!("{}/slow/app:v1", source.address()), "plainHTTP": true},
            "target": {
                "image": format!("{}/slow/{}:flat", target.address(), Self::name(case, stage)),
                "plainHTTP": true,
            },
        })
    }

    /// Makes the ways of a stage slow where that stage is.
    pub fn hold(&self, stage: Stage) {
        let (source, target) = self.pair(stage);
        source.set(if stage == Stage::Reading { SLOW } else { Flow::Open });
        target.set(if stage == Stage::Writing { SLOW } else { Flow::Open });
    }

    /// Makes them fast again.
    pub fn let_go(&self, stage: Stage) {
        let (source, target) = self.pair(stage);
        source.set(Flow::Open);
        target.set(Flow::Open);
    }

    /// Applies the job of a case for each stage and waits until each is in it.
    ///
    /// # Errors
    /// [`Error::Timeout`].
    pub async fn start(&self, case: &str) -> Result<()> {
        let jobs = Jobs::of(&self.ground.cluster, "team").await?;
        for stage in Stage::ALL {
            self.hold(stage);
            jobs.apply(&Self::name(case, stage), &self.spec(case, stage)).await?;
        }
        for stage in Stage::ALL {
            self.wait_for(case, stage).await?;
        }
        Ok(())
    }

    /// Waits until the worker of a case is in a stage, by what its own endpoint says.
    ///
    /// # Errors
    /// [`Error::Timeout`].
    pub async fn wait_for(&self, case: &str, stage: Stage) -> Result<()> {
        let (cluster, name) = (&self.ground.cluster, Self::name(case, stage));
        let jobs = Jobs::of(cluster, "team").await?;
        jobs.wait_for_reason(&name, "Running", LONG).await?;
        let what = format!("the worker of {name} to be {}", stage.name());
        cluster
            .wait_for("team", &what, LONG, async || {
                let pods = jobs.pods(&name).await?;
                let pod = pods.last().ok_or_else(|| Error::Misuse(format!("{name} has no pod")))?;
                let ip = pod.status.as_ref().and_then(|status| status.pod_ip.clone()).unwrap_or_default();
                let address = format!("{ip}:{PORT}").parse().map_err(|_| Error::Misuse(pod.name_any()))?;
                let answer = self.ground.get(address, "/progress").await?;
                let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
                let report: ProgressReport = serde_json::from_str(body).unwrap_or_default();
                let is_read = report.snapshot.percent() >= 90;
                let is_there = match stage {
                    Stage::Reading => report.snapshot.bytes_read > 0 && !is_read,
                    Stage::Writing => is_read && report.snapshot.stage != Progressing::Finished,
                };
                Ok(if is_there { Look::Done(()) } else { Look::NotYet(format!("{report:?}")) })
            })
            .await
    }

    /// The tags that a case's target has by now.
    ///
    /// # Errors
    /// When the registry doesn't answer.
    pub async fn tags(&self, case: &str, stage: Stage) -> Result<String> {
        let repository = format!("{}/slow/{}", self.ground.registry.host(), Self::name(case, stage));
        match self.ground.cluster.crane(&self.ground.registry, &["ls", &repository]).await {
            Ok(tags) => Ok(tags),
            Err(error) if error.to_string().contains("NAME_UNKNOWN") => Ok(String::new()),
            Err(error) => Err(error),
        }
    }
}
