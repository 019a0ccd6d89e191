//! `encode`: the codes of a video, clip after clip.

use std::path::PathBuf;

use anyhow::Result;
use engine::media::{Fit, load_video};

use super::engine_args::EngineArgs;
use super::progress::Progress;
use super::rollout::parse_fit;
use crate::codes::CodesFile;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A folder of frames, a GIF or an animated PNG
    #[arg(long, value_name = "V")]
    video: PathBuf,
    /// The JSON file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// How frames of another shape are fitted: crop or letterbox
    #[arg(long, default_value = "crop", value_parser = parse_fit)]
    fit: Fit,
    #[command(flatten)]
    engine: EngineArgs,
}

pub fn run(args: &Args) -> Result<()> {
    let (_, runner) = args.engine.runner()?;
    let pack = runner.pack().clone();
    let video = load_video(&args.video, pack.frame_size(), args.fit)?;
    if let Some(fps) = video.fps
        && (fps - pack.fps).abs() > 0.1 * pack.fps
    {
        eprintln!(
            "the video has {fps:.1} frames a second, the pack was made for {}: the codes are those of frames, not of seconds",
            pack.fps
        );
    }
    let mut progress = Progress::new();
    let clips = runner.encode(&video.frames, &mut progress)?;
    progress.end();
    let count = clips.len();
    CodesFile::of_video(&pack, args.video.display().to_string(), clips).write(&args.out)?;
    println!("wrote the codes of {count} clips to {}", args.out.display());
    Ok(())
}
