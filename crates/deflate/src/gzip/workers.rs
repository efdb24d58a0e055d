//! Threads that encode, and results that come back in the order of the work.

use crate::error::EncodeError;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

type Job = Box<dyn FnOnce() + Send>;

/// Work under way: its result, once.
#[derive(Debug)]
pub(crate) struct Pending<T>(Receiver<Result<T, EncodeError>>);

impl<T> Pending<T> {
    /// The result, when it is there.
    pub(crate) fn poll(&self) -> Option<Result<T, EncodeError>> {
        match self.0.try_recv() {
            Ok(result) => Some(result),
            Err(std::sync::mpsc::TryRecvError::Empty) => None,
            Err(std::sync::mpsc::TryRecvError::Disconnected) => Some(Err(EncodeError::Thread)),
        }
    }

    /// The result, when it comes.
    pub(crate) fn wait(&self) -> Result<T, EncodeError> {
        self.0.recv().unwrap_or(Err(EncodeError::Thread))
    }
}

/// Threads, started with the first work and ended with the value.
#[derive(Debug)]
pub(crate) struct Workers {
    threads: usize,
    jobs: Option<SyncSender<Job>>,
    handles: Vec<JoinHandle<()>>,
}

impl Workers {
    /// At most `threads` threads (at least one).
    pub(crate) fn new(threads: usize) -> Self {
        Self { threads: threads.max(1), jobs: None, handles: Vec::new() }
    }

    /// How many pieces of work may be under way, so that a thread that is done finds a next one.
    pub(crate) fn depth(&self) -> usize {
        self.threads + 1
    }

    /// Hands work to the threads; waits while all are busy and have a next one.
    pub(crate) fn submit<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> Result<T, EncodeError> + Send + 'static,
    ) -> Result<Pending<T>, EncodeError> {
        let (sender, receiver) = sync_channel(1);
        let job: Job = Box::new(move || {
            // Nobody waits any more when the writer failed.
            let _ = sender.send(work());
        });
        let depth = self.depth();
        let jobs = self.jobs.get_or_insert_with(|| {
            let (jobs, queue) = sync_channel::<Job>(depth);
            let queue = Arc::new(Mutex::new(queue));
            for _ in 0..self.threads {
                let queue = Arc::clone(&queue);
                self.handles.push(std::thread::spawn(move || run(&queue)));
            }
            jobs
        });
        jobs.send(job).map_err(|_| EncodeError::Thread)?;
        Ok(Pending(receiver))
    }
}

fn run(queue: &Mutex<Receiver<Job>>) {
    loop {
        // The lock is held while waiting, which is how the threads take turns.
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            Ok(job) => job(),
            Err(_) => return,
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.jobs = None;
        for handle in self.handles.drain(..) {
            // A panic of a thread was seen as a missing result.
            let _ = handle.join();
        }
    }
}
