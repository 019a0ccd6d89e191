//! The command line: one file a subcommand, the same engine calls as the window.
//!
//! Exit code 0 means done. Bad use and bad files end with exit code 2 and one sentence on standard
//! error.

mod bench;
mod craft;
mod encode;
mod engine_args;
mod eval;
mod import;
mod info;
mod progress;
mod rollout;
mod serve;
mod synthetic;
mod train;
mod verify;
mod window;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use engine::remote;

/// What a user's mistake or a bad file ends with.
const FAILED: u8 = 2;

const EXAMPLES: &str = "\
Examples:
  videoworld-studio                        open the studio
  videoworld-studio photo.jpg              open it with your own starting frame
  videoworld-studio rollout --frame photo.jpg --task airplane --out airplane
                                           predict and paint a whole task, without a window
  videoworld-studio encode --video clip.gif --out codes.json
                                           read the codes of a video
  videoworld-studio craft --out videos --count 5 --seed 1
                                           write craft-world videos with labels
  videoworld-studio train all --run runs/mine --budget 120
                                           train every stage, two hours in all
  videoworld-studio train pack --run runs/mine --out my-pack
                                           make a pack of what was trained so far
  videoworld-studio import --from downloads --out videoworld2
                                           make a pack of the official weights
  videoworld-studio eval craft --pack my-pack
                                           measure a pack on unseen environments
  videoworld-studio serve                  lend this machine's device to others
  videoworld-studio --remote ws://HOST:PORT
                                           open the studio on the device lent there
  videoworld-studio info                   list devices, memory and the pack

Without a display the studio does a rollout of a built-in starting frame and writes the result.";

/// Explore, debug and show a video world model: one picture in, a task done.
#[derive(Debug, Parser)]
#[command(
    name = "videoworld-studio",
    version,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    after_help = EXAMPLES
)]
struct Cli {
    #[command(flatten)]
    window: window::Args,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Predict the codes of a task from one picture and write its coarse and refined video
    Rollout(rollout::Args),
    /// Read the codes of a video
    Encode(encode::Args),
    /// Write craft-world videos with labels
    Craft(craft::Args),
    /// Train one stage, all of them, or make a pack of a run
    Train(train::Args),
    /// Make a pack of the official weights
    Import(import::Args),
    /// Write files like the official ones with random numbers, to try an import with
    #[command(hide = true)]
    Synthetic(synthetic::Args),
    /// Measure a pack on environments that training never saw
    Eval(eval::Args),
    /// Measure how fast the pack computes here
    Bench(bench::Args),
    /// Compare every part of the pack on this device with the processor
    ///
    /// Both compute the same inputs, one after the other, with all weights in memory. Clips of up to
    /// 262,144 pixels, as those of the embedded pack, are compared whole. Larger ones are cut to the
    /// few frames in which every layer meets what it does in more, and refined ones scaled down; one
    /// frame of the pack's own size through the video autoencoder and attention among as many tokens
    /// as a clip has are compared by themselves. The table's first line says at which sizes
    Verify(verify::Args),
    /// Lend this machine's device to studios on others
    Serve(serve::Args),
    /// List the devices, the memory and what the pack holds
    Info(info::Args),
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => return failed(&usage_sentence(&error.to_string())),
        Err(help) => {
            // Nobody listens any more when this fails, as in `--help | head`.
            help.print().ok();
            return ExitCode::SUCCESS;
        }
    };
    let done = match catch_unwind(AssertUnwindSafe(|| run(cli))) {
        Ok(done) => done,
        Err(panic) => match remote::lost() {
            Some(remote) => Err(anyhow::anyhow!(
                "the connection to {remote} was lost; what was finished is kept"
            )),
            None => resume_unwind(panic),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&sentence(&error)),
    }
}

/// A command whose output nobody reads any more ends without a word, as in `info | head`; Rust by
/// itself would panic at the next line. The window and `serve` answer no pipe.
#[cfg(unix)]
fn end_with_the_pipe() {
    #[expect(unsafe_code, reason = "the standard library has no way to it yet")]
    // SAFETY: it is the system's own behaviour that is restored, before any thread is started.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

#[cfg(not(unix))]
fn end_with_the_pipe() {}

fn run(cli: Cli) -> anyhow::Result<()> {
    if !matches!(cli.command, None | Some(Command::Serve(_))) {
        end_with_the_pipe();
    }
    match cli.command {
        None => window::run(cli.window),
        Some(Command::Rollout(args)) => rollout::run(&args),
        Some(Command::Encode(args)) => encode::run(&args),
        Some(Command::Craft(args)) => craft::run(&args),
        Some(Command::Train(args)) => train::run(&args),
        Some(Command::Import(args)) => import::run(&args),
        Some(Command::Synthetic(args)) => synthetic::run(&args),
        Some(Command::Eval(args)) => eval::run(&args),
        Some(Command::Bench(args)) => bench::run(&args),
        Some(Command::Verify(args)) => verify::run(&args),
        Some(Command::Info(args)) => info::run(&args),
        Some(Command::Serve(args)) => serve::run(&args),
    }
}

fn failed(sentence: &str) -> ExitCode {
    eprintln!("{sentence}");
    ExitCode::from(FAILED)
}

/// What went wrong with its causes, those left out that are told already.
fn sentence(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| {
        if told.is_empty() {
            cause
        } else if told.contains(&cause) {
            told
        } else {
            format!("{told}: {cause}")
        }
    })
}

/// clap's explanation without its frame: what is wrong and its tip, in one line.
fn usage_sentence(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(|paragraph| {
        let lines: Vec<&str> = paragraph.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
        lines.join(" ")
    });
    let told: Vec<String> = paragraphs
        .enumerate()
        .filter(|(i, p)| *i == 0 || p.starts_with("tip:"))
        .map(|p| p.1)
        .collect();
    let told = told.join("; ");
    let told = told.strip_prefix("error: ").unwrap_or(&told);
    format!("{told}; see videoworld-studio --help")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn sentence(args: &[&str]) -> String {
        let args = std::iter::once("videoworld-studio").chain(args.iter().copied());
        let error = Cli::try_parse_from(args).expect_err("bad use");
        usage_sentence(&error.to_string())
    }

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn bad_use_is_told_in_one_sentence() {
        let cases: [(&[&str], &str); 6] = [
            (&["rollout"], "--out <DIR>"),
            (&["rollout", "--out", "x", "--device", "cuda"], "there is no device 'cuda'"),
            (&["rollout", "--out", "x", "--task", "kite"], "there is no task 'kite'"),
            (&["info", "--fast"], "--fast"),
            (&["train", "warmpu", "--run", "x"], "there is no stage 'warmpu'"),
            (&["eval", "code"], "there is no measure 'code'"),
        ];
        for (args, said) in cases {
            let sentence = sentence(args);
            assert!(sentence.contains(said), "{args:?}: {sentence}");
            assert!(!sentence.contains('\n') && !sentence.starts_with("error"), "{sentence}");
        }
    }

    #[test]
    fn causes_are_told_once() {
        let cause = std::io::Error::other("the disk is full");
        let error = anyhow::Error::from(cause).context("x could not be written: the disk is full");
        assert_eq!(super::sentence(&error), "x could not be written: the disk is full");
        let error = anyhow::anyhow!("the disk is full").context("x could not be written");
        assert_eq!(super::sentence(&error), "x could not be written: the disk is full");
    }

    #[test]
    fn a_misspelt_subcommand_is_no_picture() {
        let cli = Cli::try_parse_from(["videoworld-studio", "rolout"]).expect("could be a file");
        let error = window::run(cli.window).expect_err("no such file").to_string();
        assert!(error.contains("rolout") && error.contains("--help"), "{error}");
    }

    #[test]
    fn a_picture_alone_opens_the_window() {
        let cli = Cli::try_parse_from(["videoworld-studio", "photo.jpg"]).expect("good use");
        assert!(cli.command.is_none());
        assert_eq!(cli.window.frame.as_deref(), Some(std::path::Path::new("photo.jpg")));
    }
}
