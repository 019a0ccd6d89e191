//! `bench full`: what a clip costs, network by network, at the release's sizes or any other.

use std::path::PathBuf;

use anyhow::{Result, bail};
use engine::eval::full;
use engine::gpu::{self, ComputeChoice, DeviceChoice, PrecisionChoice};
use engine::media::{FrameSize, write_atomic};
use engine::pack::{Manifest, PackSource};

/// How much larger a clip that fits is looked for, in frames and in pixels.
const LOOKED: usize = 256;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of a pack, or embedded: measure its networks; when left out, networks of the release's
    /// sizes with random weights, of which one block of each kind is made and counted many times
    #[arg(long, value_name = "DIR")]
    pack: Option<PackSource>,
    /// Frames of a clip; the pack's own, 93 in the release, when left out
    #[arg(long, value_name = "N")]
    frames: Option<usize>,
    /// Width and height of the refined video, for example 832x480; the pack's own when left out
    #[arg(long, value_name = "WxH", value_parser = parse_size)]
    size: Option<FrameSize>,
    /// Where the networks run: auto, vulkan, metal, dx12 or cpu
    #[arg(long, default_value_t)]
    device: DeviceChoice,
    /// What the diffusion model computes in: f32, f16 or auto
    #[arg(long, value_name = "P", default_value_t)]
    precision: PrecisionChoice,
    /// Keep the diffusion model's linear weights in 8 bits
    #[arg(long)]
    eight_bit: bool,
    /// Runs of which the median counts, after one to warm up where kernels are compiled
    #[arg(long, value_name = "N", default_value_t = 1)]
    repeats: usize,
    /// Also write the table as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn parse_size(text: &str) -> Result<FrameSize, String> {
    FrameSize::parse_within(text, 8..=4096)
}

/// That a clip does not fit the networks, and the next larger one that does.
fn unfit(own: &Manifest, frames: usize, size: FrameSize) -> String {
    let clip = |frames: usize, size: FrameSize| format!("{frames} frames of {size}");
    let FrameSize { height, width } = size;
    // Each fits or not whatever the others are, and the pack's own fit.
    let frames_fit = |frames: &usize| own.at(*frames, own.frame_size).is_ok();
    let size_fits = |size: FrameSize| own.at(own.frames_per_clip, size).is_ok();
    let next_frames = (frames..=frames.saturating_add(LOOKED)).find(frames_fit);
    let next_height = (height..=height + LOOKED as u32)
        .find(|height| size_fits(FrameSize { height: *height, ..own.frame_size }));
    let next_width = (width..=width + LOOKED as u32)
        .find(|width| size_fits(FrameSize { width: *width, ..own.frame_size }));
    let refused = format!("{} do not fit the networks", clip(frames, size));
    match (next_frames, next_height, next_width) {
        (Some(frames), Some(height), Some(width)) => {
            format!("{refused}; {} would", clip(frames, FrameSize { height, width }))
        }
        _ => refused,
    }
}

pub fn run(args: &Args) -> Result<()> {
    if args.repeats == 0 {
        bail!("--repeats must be at least 1");
    }
    let pack = args.pack.as_ref().map(PackSource::open).transpose()?;
    let own = pack.as_ref().map_or_else(Manifest::videoworld2, |pack| pack.manifest.clone());
    let frames = args.frames.unwrap_or(own.frames_per_clip);
    let size = args.size.unwrap_or(own.frame_size);
    let Ok(manifest) = own.at(frames, size) else { bail!(unfit(&own, frames, size)) };
    let Args { device, precision, eight_bit, .. } = *args;
    let computing = ComputeChoice { device, precision, eight_bit };
    let chosen = gpu::choose(device)?.computing(computing, manifest.diffusion_count())?;
    eprintln!("measuring on {}", chosen.description);
    let tell = &mut |cost: &engine::eval::Cost| eprintln!("  {}", cost.name);
    let table = full(&manifest, pack.as_ref(), &chosen, args.repeats, tell)?;
    print!("{table}");
    if let Some(file) = &args.json {
        write_atomic(file, &serde_json::to_vec_pretty(&table)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_width_and_height() {
        assert_eq!(parse_size("832x480"), Ok(FrameSize { height: 480, width: 832 }));
        for wrong in ["480", "480x", "7x8", "480x832x3"] {
            assert!(parse_size(wrong).unwrap_err().contains("WIDTHxHEIGHT"), "{wrong}");
        }
    }

    #[test]
    fn what_does_not_fit_is_told_with_what_would() {
        let release = Manifest::videoworld2();
        let (frames, size) = (6, FrameSize { height: 64, width: 112 });
        assert!(release.at(frames, size).is_err());
        let told = unfit(&release, frames, size);
        assert_eq!(
            told,
            "6 frames of 112x64 pixels do not fit the networks; 9 frames of 128x64 pixels would"
        );
        release.at(9, FrameSize { height: 64, width: 128 }).expect("what was told fits");
    }
}
