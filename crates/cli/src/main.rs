//! The `unbloat` command.

fn main() -> std::process::ExitCode {
    unbloat_cli::main()
}
