//! Without the feature `faults` the server does what it is asked, and nothing but that.

use hyper::{HeaderMap, Method, Response, Uri};

use crate::deviation::Deviation;
use crate::reply::Body;
use crate::server::Options;

/// Nothing that goes wrong.
#[derive(Debug)]
pub(crate) struct Behaviour;

impl Behaviour {
    pub(crate) fn new(_: &Options) -> Self {
        Self
    }

    pub(crate) fn begin(&self, _: &Method, _: &Uri, _: &HeaderMap) -> Turn {
        Turn
    }
}

/// One request, which is answered as it should be.
#[derive(Debug)]
pub(crate) struct Turn;

impl Turn {
    pub(crate) async fn before(&self) -> std::io::Result<Option<Response<Body>>> {
        Ok(None)
    }

    pub(crate) fn deviation(&self) -> Deviation {
        Deviation::default()
    }

    pub(crate) fn expires_tokens(&self) -> bool {
        false
    }

    pub(crate) async fn after(&self, response: Response<Body>) -> std::io::Result<Response<Body>> {
        Ok(response)
    }
}
