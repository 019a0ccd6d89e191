//! No subcommand: the window, or without a display the same job headless.

use std::path::PathBuf;

use anyhow::{Result, bail};
use engine::media::Fit;
use engine::memory::Budget;
use engine::pack::Scale;

use super::engine_args::EngineArgs;
use super::rollout;

/// Where the headless job writes, in the current folder.
const HEADLESS_FOLDER: &str = "videoworld-rollout";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The starting frame to open (PNG, JPEG, WebP, GIF or BMP), a saved session or codes (JSON)
    pub frame: Option<PathBuf>,
    /// Memory to stay within: auto, 24G or 800M; where refining does not fit there is coarse video
    #[arg(long, value_name = "M", default_value_t)]
    pub memory: Budget,
    /// Refine at this share of the pack's height and width, 0.1 to 1: less memory, and at 0.5 about a
    /// ninth of the release's arithmetic. The networks were made for one size; how good smaller
    /// video is was not measured
    #[arg(long, value_name = "S", default_value_t)]
    pub scale: Scale,
    #[command(flatten)]
    pub engine: EngineArgs,
    /// As `bench --window` starts it
    #[arg(long, hide = true)]
    pub timed: bool,
}

pub fn run(args: Args) -> Result<()> {
    if let Some(frame) = args.frame.as_deref().filter(|frame| !frame.exists()) {
        bail!(
            "there is no file {} (a subcommand goes before its options); see videoworld-studio --help",
            frame.display()
        );
    }
    match open_window(&args) {
        Ok(()) => Ok(()),
        Err(reason) if args.timed => bail!("{reason}, so its start cannot be measured"),
        Err(reason) => {
            println!("{reason}: doing a rollout without a window");
            let is_codes =
                |path: &PathBuf| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"));
            let (codes, frame) = match args.frame {
                Some(path) if is_codes(&path) => (Some(path.display().to_string()), None),
                frame => (None, frame),
            };
            rollout::run(&rollout::Args {
                frame,
                task: None,
                codes,
                clips: None,
                seed: 0,
                temperature: None,
                steps: None,
                guidance: None,
                fit: Fit::default(),
                coarse_only: false,
                fresh: false,
                memory: args.memory,
                scale: args.scale,
                out: PathBuf::from(HEADLESS_FOLDER),
                engine: args.engine,
            })
        }
    }
}

/// Comes back when the window is closed, or with the reason why there is none.
#[cfg(feature = "window")]
fn open_window(args: &Args) -> Result<(), String> {
    use crate::state::{Settings, data_folder};
    use crate::studio::{self, StudioOptions};

    if !has_display() {
        return Err("There is no display".to_owned());
    }
    // What is timed must neither find nor leave anything of the user's.
    let kept = |path: Option<PathBuf>| path.filter(|_| !args.timed);
    studio::run(StudioOptions {
        frame: args.frame.clone(),
        pack: args.engine.pack.clone(),
        device: args.engine.computing(),
        memory: args.memory,
        scale: args.scale,
        settings: kept(Settings::default_path()),
        sessions: kept(data_folder().map(|folder| folder.join("sessions"))),
        timed: args.timed,
    })
    .map_err(|error| format!("There is no display to open a window on ({error:#})"))
}

#[cfg(not(feature = "window"))]
fn open_window(_args: &Args) -> Result<(), String> {
    Err("This program was built without its window, so no display is used".to_owned())
}

/// Only Linux runs without a display as a matter of course.
#[cfg(feature = "window")]
fn has_display() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !cfg!(target_os = "linux") || set("DISPLAY") || set("WAYLAND_DISPLAY")
}
