//! The same command as a kubectl plugin: `kubectl unbloat …`.

fn main() -> std::process::ExitCode {
    unbloat_squash::share_one_heap();
    unbloat_cli::main()
}
