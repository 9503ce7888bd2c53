//! Binary `gimp-platform`.

fn main() -> std::process::ExitCode {
    server::cli::main()
}
