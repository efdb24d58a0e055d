//! The C library's allocator, told to keep little.

/// Lets all threads of this process share one heap; to be called before there are threads.
///
/// glibc gives threads heaps of their own, up to eight a core, and each keeps what was freed in it: with the
/// pipeline's threads 4 to 12 MB that nobody uses, more with more cores. The pipeline's buffers are few and
/// large: a squash takes as long with one heap, the analysis of a million paths 3 % more of the processor.
/// Elsewhere this does nothing.
pub fn share_one_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "the C library has no other way to be told")]
    // SAFETY: mallopt takes two numbers and sets a parameter of the allocator, under its own lock.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
