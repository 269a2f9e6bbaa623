//! The program's heap, and how it gives memory back. glibc learns from each large block that is freed to take the next
//! ones from a heap that never shrinks again: buffers of packs, of 16 MiB, then make a first snapshot of a source tree
//! hold 155 to 175 MiB for what takes 100, and are no faster for it. musl's heap has one lock for all threads, so that a
//! static build brings another one. Invariant: this is the only place with `unsafe`, and it is asked for once, before
//! there is a second thread.

#![allow(unsafe_code)]

#[cfg(target_env = "musl")]
#[global_allocator]
static HEAP: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Blocks of so many bytes are the system's at once when they are freed.
#[cfg(target_env = "gnu")]
const BLOCK_BYTES: i32 = 5 << 20;
/// So much free memory at the heap's end is kept for what comes next.
#[cfg(target_env = "gnu")]
const KEPT_BYTES: i32 = 8 << 20;

/// Fixes both bounds; other systems' heaps know none.
pub fn bound() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) takes two numbers, and keeps nothing of the caller's. It is not to be called while other threads
    // allocate: none has been started. A bound that it does not take leaves things as they were.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, BLOCK_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES);
    }
}
