//! `bench`: how fast the pack computes here.

use std::path::PathBuf;

use anyhow::{Result, bail};
use engine::eval::{Speed, speed};
use engine::gpu::{self, DeviceChoice};
use engine::media::write_atomic;
use engine::pack::PackSource;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of a pack, or embedded: the one inside the program
    #[arg(long, value_name = "DIR", default_value_t)]
    pack: PackSource,
    /// Where the networks run: auto, vulkan, metal, dx12 or cpu; give it again for another device
    #[arg(long = "device", value_name = "DEVICE", default_value = "auto")]
    devices: Vec<DeviceChoice>,
    /// Runs of which the median counts
    #[arg(long, value_name = "N", default_value_t = 5)]
    repeats: usize,
    /// Also write the table as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<()> {
    if args.repeats == 0 {
        bail!("--repeats must be at least 1");
    }
    let mut table = Speed { devices: Vec::new() };
    for device in &args.devices {
        let chosen = gpu::choose(*device)?;
        eprintln!("measuring on {}", chosen.description);
        table.devices.push(speed(&|| args.pack.open(), &chosen, args.repeats)?);
    }
    println!("{table}");
    if let Some(file) = &args.json {
        write_atomic(file, &serde_json::to_vec_pretty(&table)?)?;
    }
    Ok(())
}
