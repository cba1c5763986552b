//! Dispatch and exit code, nothing else.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Huge pages round every buffer up to 2 MB, tens of megabytes in all; an auditor should take what it was given. That
    // the system refuses changes only memory.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    sordini::cli::run()
}
