//! `synthetic`: files like the official ones with random numbers, to try an import with.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use engine::import::{Format, synthetic};
use engine::memory::human;
use engine::pack::Manifest;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder to write into; it must be new or empty
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Write safetensors instead of what torch.save writes
    #[arg(long)]
    safetensors: bool,
    /// The manifest.json of a pack whose sizes the networks have; those of the release (4.9 GB)
    /// when left out
    #[arg(long, value_name = "FILE")]
    sizes: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<()> {
    let manifest = match &args.sizes {
        None => Manifest::videoworld2(),
        Some(file) => Manifest::open(file).context("the sizes could not be read")?,
    };
    let format = if args.safetensors { Format::Safetensors } else { Format::Torch };
    let tell = &mut |file: &str| eprintln!("Writing {file}");
    let paths = synthetic(&args.out, &manifest, format, tell)?;
    for path in paths {
        let bytes = std::fs::metadata(&path).map_or(0, |file| file.len());
        println!("{}, {}", path.display(), human(bytes));
    }
    Ok(())
}
