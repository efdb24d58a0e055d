//! One zstd frame, made on several threads.

use crate::error::EncodeError;
use ::zstd::stream::raw::{CParameter, Encoder, InBuffer, Operation, OutBuffer};
use bytes::Bytes;
use std::io;

/// Content that a thread compresses at a time. The output depends on it, hence the same on every machine;
/// zstd's own choice at level 3 is 8 MiB. Against jobs of 1 MiB with twice the overlap these take 3 to 5 %
/// less processor time and 3 to 7 MB more memory, and make as much (0.2 % more of a Debian root file system
/// and of the incident); against 2 MiB, 6 MB less.
const JOB_SIZE: u32 = 1536 * 1024;
/// How much of the content before it a job may refer to: an eighth of the window, in zstd's terms, which is
/// 256 KiB at level 3 and zstd's own choice there.
const OVERLAP: u32 = 6;
/// Output is handed on in pieces of at most this size.
const OUTPUT_PIECE: usize = 128 * 1024;

/// How a [`ZstdWriter`] encodes.
#[derive(Clone, Copy, Debug)]
pub struct ZstdOptions {
    /// 1 (fastest) to 19 (smallest); 3 is zstd's usual.
    pub level: u8,
    /// Threads that encode, at least one. The output does not depend on them.
    pub threads: u32,
}

impl Default for ZstdOptions {
    fn default() -> Self {
        Self { level: 3, threads: 1 }
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ZstdSummary {
    /// Bytes of content.
    pub uncompressed: u64,
    /// Bytes of the frame.
    pub compressed: u64,
}

/// Writes one frame, with a checksum and without the content's size, which is not known before the end.
///
/// Memory, by zstd's own accounting: three jobs of 1.5 MiB, and about as much as three more for each thread.
pub struct ZstdWriter<S> {
    encoder: Encoder<'static>,
    sink: S,
    output: Vec<u8>,
    summary: ZstdSummary,
}

impl<S: FnMut(Bytes) -> io::Result<()>> ZstdWriter<S> {
    /// A writer that hands its output to `sink`, in order.
    ///
    /// # Errors
    /// [`EncodeError::Level`], or [`EncodeError::Encoder`] when threads or memory are short.
    pub fn new(options: ZstdOptions, sink: S) -> Result<Self, EncodeError> {
        if !(1..=19).contains(&options.level) {
            return Err(EncodeError::Level { level: options.level });
        }
        let failed = EncodeError::of("zstd");
        let mut encoder = Encoder::new(i32::from(options.level)).map_err(failed)?;
        // Without a worker zstd cuts nothing into jobs, and makes other bytes than with one or more.
        for parameter in [
            CParameter::ChecksumFlag(true),
            CParameter::NbWorkers(options.threads.clamp(1, 64)),
            CParameter::JobSize(JOB_SIZE),
            CParameter::OverlapSizeLog(OVERLAP),
        ] {
            encoder.set_parameter(parameter).map_err(failed)?;
        }
        Ok(Self { encoder, sink, output: vec![0; OUTPUT_PIECE], summary: ZstdSummary::default() })
    }

    /// Appends content.
    ///
    /// # Errors
    /// [`EncodeError`]; the output is then incomplete and the writer of no more use.
    pub fn write(&mut self, data: &[u8]) -> Result<(), EncodeError> {
        self.summary.uncompressed += data.len() as u64;
        let mut source = InBuffer::around(data);
        while source.pos() < data.len() {
            let mut target = OutBuffer::around(&mut self.output[..]);
            self.encoder.run(&mut source, &mut target).map_err(EncodeError::of("zstd"))?;
            let written = target.pos();
            self.emit(written)?;
        }
        Ok(())
    }

    /// Ends the frame.
    ///
    /// # Errors
    /// [`EncodeError`].
    pub fn finish(mut self) -> Result<ZstdSummary, EncodeError> {
        loop {
            let mut target = OutBuffer::around(&mut self.output[..]);
            let left = self.encoder.finish(&mut target, true).map_err(EncodeError::of("zstd"))?;
            let written = target.pos();
            self.emit(written)?;
            if left == 0 {
                return Ok(self.summary);
            }
        }
    }

    fn emit(&mut self, length: usize) -> Result<(), EncodeError> {
        if length == 0 {
            return Ok(());
        }
        self.summary.compressed += length as u64;
        (self.sink)(Bytes::copy_from_slice(&self.output[..length])).map_err(EncodeError::Output)
    }
}
