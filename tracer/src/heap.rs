//! The allocator's habits, where it is glibc's: an agent that runs for months shouldn't keep what it once took.

/// One heap for the few threads there are: what one allocates another frees, and of several heaps each keeps its holes. Large
/// buffers, such as a scrape's text, stay apart and are given back. To be called before there are threads.
pub fn keep_together() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets parameters of the allocator; nothing else of this process runs yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20);
    }
}

/// Gives back what is free, as after parsing the kernel's types and the object.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: frees nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
