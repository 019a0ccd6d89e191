//! `info`: the devices, the memory, and what the pack holds.

use anyhow::Result;
use engine::gpu;

use super::engine_args::EngineArgs;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    engine: EngineArgs,
}

pub fn run(args: &Args) -> Result<()> {
    println!("Devices");
    let adapters = gpu::adapters();
    if adapters.is_empty() {
        println!("  no graphics adapter");
    }
    for adapter in &adapters {
        println!("  {}, largest tensor {}", adapter.description, bytes(adapter.max_binding_bytes));
    }
    let chosen = gpu::choose(args.engine.device)?;
    println!("  --device {} computes on: {}", args.engine.device, chosen.description);
    println!("Memory");
    match memory() {
        Some((total, free)) => println!("  {} in all, {} free", bytes(total), bytes(free)),
        None => println!("  not known on this system"),
    }
    let pack = args.engine.pack.open()?;
    let manifest = &pack.manifest;
    let stored: u64 = manifest.files.values().map(|file| file.bytes).sum();
    println!("Pack");
    println!("  {} ({})", manifest.name, &pack.id.to_string()[..12]);
    println!("  licence: {}", manifest.licence);
    println!("  trained: {}", manifest.trained);
    for entry in &manifest.tasks {
        println!("  task: {}, {} clips", entry.task.label(), entry.clips);
    }
    println!(
        "  video: {}, {} frames a clip at {} a second, coarse {}",
        manifest.frame_size, manifest.frames_per_clip, manifest.fps, manifest.coarse_size
    );
    println!(
        "  codes: {} steps of {} a clip, vocabulary {}",
        manifest.steps_per_clip(),
        manifest.dldm.num_queries,
        manifest.dldm.levels.iter().product::<usize>()
    );
    println!("  {} stored, about {} once loaded", bytes(stored), bytes(2 * stored));
    for (name, file) in &manifest.files {
        println!("    {name:<22} {:>9}  {}", bytes(file.bytes), &file.sha256[..12]);
    }
    if let Some(codes) = pack.recorded_codes()? {
        println!("  codes that came with it, for rollout --codes ({}):", codes.source);
        for (name, clips) in &codes.rollouts {
            println!("    {name}, {} clips", clips.len());
        }
    }
    let points = pack.reference()?.map(|set| set.clips.len());
    match points {
        Some(clips) => println!("  reference set of {clips} clips for the map"),
        None => println!("  no reference set, so no map"),
    }
    Ok(())
}

fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["B", "kB", "MB", "GB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0);
    format!("{value:.digits$} {}", UNITS[unit])
}

/// Total and available memory of the machine, where the system tells it in a file.
fn memory() -> Option<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let field = |name: &str| -> Option<u64> {
        let line = text.lines().find(|line| line.starts_with(name))?;
        let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kilobytes * 1024)
    };
    Some((field("MemTotal:")?, field("MemAvailable:")?))
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_are_written_for_people() {
        assert_eq!(super::bytes(999), "999 B");
        assert_eq!(super::bytes(23_456_789), "23.5 MB");
        assert_eq!(super::bytes(4_000_000_000), "4.0 GB");
    }
}
