//! The `keyhole` program.

mod cli;

/// A run is many short allocations on many threads. README.md of the benchmarks tells what it is worth.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
