//! `bench`: how fast the pack computes here, and how fast the window is there.

mod full;

use std::path::PathBuf;

use anyhow::{Result, bail};
use engine::eval::{Speed, drawing, speed};
use engine::gpu::{self, DeviceChoice};
use engine::media::write_atomic;
use engine::pack::PackSource;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// Folder of a pack, or embedded: the one inside the program
    #[arg(long, value_name = "DIR", default_value_t)]
    pack: PackSource,
    /// Where the networks run: auto, vulkan, metal, dx12 or cpu; give it again for another device
    #[arg(long = "device", value_name = "DEVICE", default_value = "auto")]
    devices: Vec<DeviceChoice>,
    /// Also start the window, with a display, and time it to its first coarse clip
    #[cfg(feature = "window")]
    #[arg(long)]
    window: bool,
    /// Runs of which the median counts
    #[arg(long, value_name = "N", default_value_t = 5)]
    repeats: usize,
    /// Also write the table as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Measure what a clip costs, network by network, at the release's sizes or any other
    Full(full::Args),
}

pub fn run(args: &Args) -> Result<()> {
    if let Some(What::Full(args)) = &args.what {
        return full::run(args);
    }
    if args.repeats == 0 {
        bail!("--repeats must be at least 1");
    }
    eprintln!("measuring how fast the craft world is drawn");
    let drawn_per_second = drawing(args.repeats);
    let mut table = Speed { drawn_per_second, devices: Vec::new() };
    for device in &args.devices {
        let chosen = gpu::choose(*device)?;
        eprintln!("measuring on {}", chosen.description);
        table.devices.push(speed(&|| args.pack.open(), &chosen, args.repeats)?);
    }
    println!("{table}");
    if let Some(file) = &args.json {
        write_atomic(file, &serde_json::to_vec_pretty(&table)?)?;
    }
    #[cfg(feature = "window")]
    if args.window {
        for device in &args.devices {
            time_window(&args.pack, *device)?;
        }
    }
    Ok(())
}

/// Starts this program as a user would and prints when it says what has come.
#[cfg(feature = "window")]
fn time_window(pack: &PackSource, device: DeviceChoice) -> Result<()> {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};
    use std::time::Instant;

    use anyhow::Context as _;

    use crate::studio::stopwatch::MOMENTS;

    let program = std::env::current_exe().context("this program's own file cannot be found")?;
    let started = Instant::now();
    let mut child = Command::new(program)
        .arg("--timed")
        .args(["--pack", &pack.to_string(), "--device", &device.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .context("the window cannot be started")?;
    let said = child.stdout.take().expect("its output was asked for just above");
    println!("start of the window, engine on {device}");
    let mut told = 0;
    for line in BufReader::new(said).lines() {
        let line = line.context("the window was not heard to its end")?;
        if MOMENTS.get(told).is_some_and(|moment| *moment == line) {
            println!("  {line:<33} {:>9.2} s", started.elapsed().as_secs_f64());
            told += 1;
        }
    }
    let ended = child.wait().context("the window was not waited for to its end")?;
    if !ended.success() || told < MOMENTS.len() {
        bail!("the window was closed before its first clip");
    }
    Ok(())
}
