//! What one request meets: the fault that a rule has for it, and the quirks of the server.

use std::io;
use std::sync::Arc;

use hyper::{HeaderMap, Method, Response, StatusCode, Uri};

use crate::deviation::Deviation;
use crate::faults::{Fault, Faults};
use crate::quirks::Quirks;
use crate::reply::{self, Body, Harm};
use crate::server::Options;

/// Faults and quirks of one server.
#[derive(Debug)]
pub(crate) struct Behaviour {
    pub(crate) faults: Faults,
    pub(crate) quirks: Arc<Quirks>,
}

impl Behaviour {
    pub(crate) fn new(options: &Options) -> Self {
        Self { faults: Faults::default(), quirks: Arc::new(Quirks::new(options.quirks.clone())) }
    }

    pub(crate) fn begin(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Turn {
        Turn {
            fault: self.faults.take(method, uri.path()),
            quirks: Arc::clone(&self.quirks),
            head: Head { method: method.clone(), uri: uri.clone(), headers: headers.clone() },
        }
    }
}

/// The head of a request.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
}

impl Head {
    /// Whether it reads something of this kind, such as `/manifests/`.
    pub(crate) fn reads(&self, kind: &str) -> bool {
        matches!(self.method, Method::GET | Method::HEAD) && self.uri.path().contains(kind)
    }
}

/// One request.
#[derive(Debug)]
pub(crate) struct Turn {
    fault: Option<Fault>,
    quirks: Arc<Quirks>,
    head: Head,
}

impl Turn {
    /// An answer instead of doing what was asked.
    pub(crate) async fn before(&self) -> io::Result<Option<Response<Body>>> {
        match &self.fault {
            Some(Fault::Status(status, headers)) => {
                let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let response = reply::error(status, "FAULT", "this is a fault on demand");
                let borrowed: Vec<(&'static str, &str)> =
                    headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
                return Ok(Some(reply::with(response, &borrowed, status)));
            }
            Some(Fault::Reset) => {
                return Err(io::Error::new(io::ErrorKind::ConnectionReset, "reset on demand"));
            }
            Some(Fault::Redirect(origin)) => return Ok(Some(redirect(&self.head, origin, ""))),
            Some(Fault::Delay(time)) => tokio::time::sleep(*time).await,
            _ => {}
        }
        Ok(self.quirks.before(&self.head))
    }

    /// What is done differently.
    pub(crate) fn deviation(&self) -> Deviation {
        let faithful = self.quirks.deviation(&self.head);
        match &self.fault {
            Some(Fault::Truncate(bytes) | Fault::TruncateAndExpire(bytes)) => {
                Deviation { harm: Harm::Cut(*bytes), ..faithful }
            }
            Some(Fault::Stall(bytes)) => Deviation { harm: Harm::Stop(*bytes), ..faithful },
            Some(Fault::Corrupt) => Deviation { harm: Harm::Corrupt(0), ..faithful },
            Some(Fault::CorruptAt(at)) => Deviation { harm: Harm::Corrupt(*at), ..faithful },
            Some(Fault::IgnoreRange) => Deviation { ignore_range: true, ..faithful },
            Some(Fault::LoseSession) => Deviation { lose_session: true, ..faithful },
            Some(Fault::KeepOnly(bytes)) => Deviation { keep: Some(*bytes), ..faithful },
            Some(Fault::KeepThenReset(bytes)) => {
                Deviation { keep: Some(*bytes), reset_after_chunk: true, ..faithful }
            }
            _ => faithful,
        }
    }

    /// Whether all tokens become invalid with this answer.
    pub(crate) fn expires_tokens(&self) -> bool {
        matches!(self.fault, Some(Fault::ExpireTokens | Fault::TruncateAndExpire(_)))
    }

    /// What becomes of the answer.
    pub(crate) async fn after(&self, response: Response<Body>) -> io::Result<Response<Body>> {
        if let Some(Fault::DoneButStatus(status)) = &self.fault {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return Ok(reply::error(status, "FAULT", "this is a fault on demand"));
        }
        self.quirks.after(&self.head, response).await
    }
}

/// The same path at another origin, with `more` in the query.
pub(crate) fn redirect(head: &Head, origin: &str, more: &str) -> Response<Body> {
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let joint = match (more.is_empty(), path.contains('?')) {
        (true, _) => "",
        (false, true) => "&",
        (false, false) => "?",
    };
    let location = format!("{origin}{path}{joint}{more}");
    let status = StatusCode::TEMPORARY_REDIRECT;
    reply::with(reply::status(status), &[("location", &location)], status)
}
