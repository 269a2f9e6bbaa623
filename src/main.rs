//! The program `vault`. All of it is the library and the command line on top of it.

mod cli;

fn main() -> std::process::ExitCode {
    cli::run()
}
