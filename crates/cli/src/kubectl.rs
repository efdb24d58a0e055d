//! The same command as a kubectl plugin: `kubectl unbloat …`.

fn main() -> std::process::ExitCode {
    unbloat_cli::main()
}
