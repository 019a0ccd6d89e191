//! `craft`: craft-world videos with their labels.

use std::path::{Path, PathBuf};

use anyhow::Result;
use engine::craft::{Action, CraftClip, Episode, FPS, FrameLabel, Split, Task, contact_sheet};
use engine::media::{Frame, FrameSize, write_apng, write_atomic, write_png, write_png_sequence};
use serde::Serialize;

/// Videos on the contact sheet; more would not be looked at.
const ON_SHEET: usize = 12;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder to write into, one folder a video
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How many videos
    #[arg(long, value_name = "N")]
    count: usize,
    /// Seed of the first video; the next ones count up from it
    #[arg(long, value_name = "S")]
    seed: u64,
    /// What is done: airplane, boat, tower, horse or person; all in turn when left out
    #[arg(long, value_name = "T")]
    task: Option<Task>,
    /// Environments: train or test
    #[arg(long, default_value = "train", value_parser = parse_split)]
    split: Split,
    /// Width and height in pixels
    #[arg(long, default_value = "160x96", value_name = "WxH", value_parser = parse_size)]
    size: FrameSize,
    /// Also write masks: paper red, blocks green, hand blue
    #[arg(long)]
    masks: bool,
}

fn parse_split(name: &str) -> Result<Split, String> {
    match name {
        "train" => Ok(Split::Train),
        "test" => Ok(Split::Test),
        _ => Err(format!("there is no split '{name}'; choose train or test")),
    }
}

fn parse_size(text: &str) -> Result<FrameSize, String> {
    FrameSize::parse_within(text, 16..=2048)
}

/// What is known about one video.
#[derive(Serialize)]
struct Labels<'a> {
    task: Option<Task>,
    seed: u64,
    split: &'static str,
    environment: u64,
    fps: f32,
    /// One a clip.
    actions: Vec<Action>,
    /// One a frame.
    frames: &'a [FrameLabel],
}

pub fn run(args: &Args) -> Result<()> {
    let mut episodes = Vec::new();
    for idx in 0..args.count {
        let seed = args.seed.wrapping_add(idx as u64);
        let task = args.task.unwrap_or(Task::ALL[idx % Task::ALL.len()]);
        let episode = Episode::sample(task, args.split, seed);
        let folder = args.out.join(format!("{}_{seed:06}", task.name()));
        write_episode(args, &episode, seed, &folder)?;
        eprintln!("{}/{} {}", idx + 1, args.count, folder.display());
        if episodes.len() < ON_SHEET {
            episodes.push(episode);
        }
    }
    if !episodes.is_empty() {
        write_png(&args.out.join("sheet.png"), &contact_sheet(&episodes, args.size))?;
    }
    println!("wrote {} videos with labels to {}", args.count, args.out.display());
    Ok(())
}

fn write_episode(args: &Args, episode: &Episode, seed: u64, folder: &Path) -> Result<()> {
    let video = whole(args, episode);
    write_png_sequence(&folder.join("frames"), &video.frames)?;
    write_apng(&folder.join("video.png"), &video.frames, FPS)?;
    if args.masks {
        write_png_sequence(&folder.join("masks"), &mask_frames(&video.labels))?;
    }
    let labels = Labels {
        task: episode.task,
        seed,
        split: match episode.split {
            Split::Train => "train",
            Split::Test => "test",
        },
        environment: episode.environment_id(),
        fps: FPS,
        actions: episode.actions(),
        frames: &video.labels,
    };
    Ok(write_atomic(&folder.join("labels.json"), &serde_json::to_vec(&labels)?)?)
}

/// All clips of an episode as one video: the frame that neighbours share appears once.
fn whole(args: &Args, episode: &Episode) -> CraftClip {
    let mut whole = CraftClip::default();
    for k in 0..episode.num_clips() {
        let mut clip = match args.masks {
            true => episode.clip_with_masks(k, args.size),
            false => episode.clip(k, args.size),
        };
        if k + 1 < episode.num_clips() {
            clip.frames.pop();
            clip.labels.pop();
        }
        whole.frames.append(&mut clip.frames);
        whole.labels.append(&mut clip.labels);
    }
    whole
}

fn mask_frames(labels: &[FrameLabel]) -> Vec<Frame> {
    let masks = labels.iter().filter_map(|label| label.masks.as_ref());
    masks
        .map(|m| {
            Frame::from_fn(m.paper.width(), m.paper.height(), |x, y| {
                image::Rgb([&m.paper, &m.blocks, &m.hand].map(|mask| mask.get_pixel(x, y)[0]))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(out: &Path) -> Args {
        Args {
            out: out.to_owned(),
            count: 2,
            seed: 5,
            task: Some(Task::Tower),
            split: Split::Test,
            size: FrameSize { height: 24, width: 36 },
            masks: true,
        }
    }

    #[test]
    fn videos_come_with_a_label_and_a_mask_a_frame() {
        let dir = tempfile::tempdir().unwrap();
        run(&args(dir.path())).unwrap();
        let folder = dir.path().join("tower_000006");
        let text = std::fs::read_to_string(folder.join("labels.json")).unwrap();
        let labels: serde_json::Value = serde_json::from_str(&text).unwrap();
        let count = |name: &str| std::fs::read_dir(folder.join(name)).unwrap().count();
        let frames = labels["frames"].as_array().unwrap().len();
        let clips = labels["actions"].as_array().unwrap().len();
        assert_eq!(frames, 16 * clips + 1);
        assert_eq!(count("frames"), frames);
        assert_eq!(count("masks"), frames);
        assert_eq!(labels["split"], "test");
        assert!(dir.path().join("sheet.png").exists());
    }

    #[test]
    fn sizes_are_width_times_height() {
        let size = parse_size("160x96").unwrap();
        assert_eq!((size.width, size.height), (160, 96));
        for bad in ["160", "160x", "0x96", "99999x10", "-3x20"] {
            assert!(parse_size(bad).unwrap_err().contains("WIDTHxHEIGHT"), "{bad}");
        }
    }
}
