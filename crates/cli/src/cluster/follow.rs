//! Following a job to its end.
//!
//! The status is asked for once a second. Between its coarse steps the worker's own endpoint is asked through
//! the API server, as long as the user may do that; one refusal and it is left alone.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle as BarStyle};
use serde_json::json;
use unbloat_api::{ImageSquashJob, Reason};
use unbloat_contract::ProgressReport;
use unbloat_contract::worker::PORT;

use super::connect::Connection;
use super::error::Error;
use crate::settings::ProgressStyle;

const PERIOD: Duration = Duration::from_secs(1);
/// Of one question to the API server.
const ANSWER: Duration = Duration::from_secs(10);
/// Of one question to a worker, through the API server: it may end in the middle of it.
const WORKERS_ANSWER: Duration = Duration::from_secs(2);
/// An API server that is away for longer ends the command; the job goes on.
const PATIENCE: u32 = 60;

/// Waits for the end; an end that is no success is an error.
pub(crate) async fn follow(
    connection: &Connection,
    name: &str,
    style: ProgressStyle,
) -> Result<ImageSquashJob, Error> {
    let jobs = connection.jobs();
    let mut shown = Shown::new(style);
    let mut worker_may_be_asked = true;
    let mut seen = false;
    let mut failures = 0;
    loop {
        let answer = tokio::time::timeout(ANSWER, jobs.get_opt(name)).await;
        let job = match answer.unwrap_or_else(|_| Err(no_answer())) {
            Ok(Some(job)) => job,
            Ok(None) if seen => return Err(Error::Gone(name.to_owned())),
            Ok(None) => return Err(not_found(name)),
            Err(error) => {
                failures += 1;
                let is_final =
                    matches!(&error, kube::Error::Api(status) if status.code < 500 && status.code != 429);
                if is_final || failures > PATIENCE {
                    return Err(Error::kube(format!("cannot read the ImageSquashJob {name}"))(error));
                }
                tokio::time::sleep(PERIOD).await;
                continue;
            }
        };
        (seen, failures) = (true, 0);
        let status = job.status.clone().unwrap_or_default();
        if status.is_finished() {
            shown.end();
            return ended(job);
        }
        let mut exact = None;
        if let Some(pod) = status.worker.as_ref().and_then(|worker| worker.pod.as_deref())
            && worker_may_be_asked
            && status.succeeded().is_some_and(|condition| condition.reason == Reason::Running.as_str())
        {
            match tokio::time::timeout(WORKERS_ANSWER, ask(connection, pod)).await {
                Ok(Ok(report)) => exact = Some(report),
                Ok(Err(kube::Error::Api(status))) if matches!(status.code, 401 | 403) => {
                    worker_may_be_asked = false;
                }
                // The worker is starting or ending.
                Ok(Err(_)) | Err(_) => {}
            }
        }
        shown.show(&job, exact.as_ref())?;
        tokio::time::sleep(PERIOD).await;
    }
}

fn ended(job: ImageSquashJob) -> Result<ImageSquashJob, Error> {
    let condition = job.status.as_ref().and_then(|status| status.succeeded());
    match condition {
        Some(condition) if condition.status != "True" => Err(Error::Failed {
            name: job.metadata.name.clone().unwrap_or_default(),
            reason: condition.reason.clone(),
            message: condition.message.clone(),
        }),
        _ => Ok(job),
    }
}

pub(crate) fn not_found(name: &str) -> Error {
    let status =
        kube::core::Status::failure(&format!("no ImageSquashJob {name} in this namespace"), "NotFound");
    Error::kube("not found")(kube::Error::Api(Box::new(status.with_code(404))))
}

fn no_answer() -> kube::Error {
    let words = format!("no answer from the API server within {} s", ANSWER.as_secs());
    kube::Error::Service(std::io::Error::new(std::io::ErrorKind::TimedOut, words).into())
}

async fn ask(connection: &Connection, pod: &str) -> Result<ProgressReport, kube::Error> {
    let namespace = &connection.namespace;
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{PORT}/proxy/progress");
    let request = http::Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
    connection.client.request(request).await
}

/// What is on the screen.
struct Shown {
    style: ProgressStyle,
    bar: Option<ProgressBar>,
    last: String,
}

impl Shown {
    fn new(style: ProgressStyle) -> Self {
        let bar = (style == ProgressStyle::Auto && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new(100);
            let template = "{msg} [{bar:30}] {percent}% {elapsed}";
            bar.set_style(BarStyle::with_template(template).unwrap_or_else(|_| BarStyle::default_bar()));
            bar
        });
        Self { style, bar, last: String::new() }
    }

    fn show(&mut self, job: &ImageSquashJob, exact: Option<&ProgressReport>) -> Result<(), Error> {
        let status = job.status.clone().unwrap_or_default();
        let reason = status.succeeded().map_or("Created", |condition| condition.reason.as_str()).to_owned();
        let coarse = status
            .progress
            .as_ref()
            .map(|progress| progress.percent)
            .and_then(|percent| u64::try_from(percent).ok());
        let percent = exact.map(|report| u64::from(report.percent)).or(coarse).unwrap_or(0);
        if let Some(bar) = &self.bar {
            bar.set_message(reason);
            bar.set_position(percent);
            return Ok(());
        }
        let message = status.succeeded().map(|condition| condition.message.clone()).unwrap_or_default();
        let line = match self.style {
            ProgressStyle::Plain => format!("{reason} {percent}% {message}"),
            ProgressStyle::Json => {
                json!({"reason": reason, "percent": percent, "message": message}).to_string()
            }
            ProgressStyle::Auto | ProgressStyle::None => return Ok(()),
        };
        if line != self.last {
            writeln!(std::io::stderr(), "{line}")?;
            self.last = line;
        }
        Ok(())
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
