//! The program: a window, or one subcommand and an exit code.

fn main() -> std::process::ExitCode {
    videoworld_studio::cli::main()
}
