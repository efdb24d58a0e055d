//! Answers that come compressed though nobody asked for that.
//!
//! Every request says that it wants bodies as they are (`Accept-Encoding: identity`, RFC 9110 section
//! 12.5.3), and proxies compress all the same. What is hashed and parsed is what was meant.

use std::io::Write;

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use reqwest::Response;
use reqwest::header::CONTENT_ENCODING;

use crate::error::{ErrorKind, sanitize};

/// Compressed bytes that are decoded at once: a thousand times as many can come of them.
const PIECE: usize = 4 << 10;

/// How a body is to be read.
#[derive(Debug)]
pub(crate) enum Coding {
    /// As it comes.
    Identity,
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
}

impl Coding {
    /// The coding of an answer whose own bytes are `size` many, where that is known: a label on a body of
    /// just that length is a mistake (stores label the gzip that was put there), and nothing is to be undone.
    ///
    /// # Errors
    /// A coding that is not known here.
    pub(crate) fn of(response: &Response, size: Option<u64>) -> Result<Self, ErrorKind> {
        let Some(label) = response.headers().get(CONTENT_ENCODING) else { return Ok(Self::Identity) };
        if size.is_some() && response.content_length() == size {
            return Ok(Self::Identity);
        }
        match label.to_str().unwrap_or("?").trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip(Box::new(MultiGzDecoder::new(Vec::new())))),
            other => {
                let coding = sanitize(other);
                Err(ErrorKind::Protocol(format!("it answers in {coding:?} coding, which nobody asked for")))
            }
        }
    }

    pub(crate) fn is_identity(&self) -> bool {
        matches!(self, Self::Identity)
    }

    /// What the front of `bytes` stands for, and takes it off; perhaps nothing yet.
    ///
    /// # Errors
    /// The body is damaged, which may be otherwise the next time.
    pub(crate) fn decode(&mut self, bytes: &mut Bytes) -> Result<Bytes, ErrorKind> {
        let Self::Gzip(decoder) = self else { return Ok(std::mem::take(bytes)) };
        let piece = bytes.split_to(bytes.len().min(PIECE));
        decoder.write_all(&piece).map_err(|error| broken(&error))?;
        Ok(std::mem::take(decoder.get_mut()).into())
    }

    /// What is left at the end of the body.
    ///
    /// # Errors
    /// It ended too early.
    pub(crate) fn finish(&mut self) -> Result<Bytes, ErrorKind> {
        let Self::Gzip(decoder) = self else { return Ok(Bytes::new()) };
        decoder.try_finish().map_err(|error| broken(&error))?;
        Ok(std::mem::take(decoder.get_mut()).into())
    }
}

fn broken(error: &std::io::Error) -> ErrorKind {
    ErrorKind::Network(format!("its compressed answer is broken: {error}"))
}
