//! The `unbloat` command.

fn main() -> std::process::ExitCode {
    unbloat_squash::share_one_heap();
    unbloat_cli::main()
}
