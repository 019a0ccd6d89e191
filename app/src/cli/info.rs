//! `info`: the devices, the memory, and what the pack holds.

use anyhow::Result;
use engine::gpu;
use engine::memory::{self, human as bytes};
use engine::pack::{Estimate, Job, Residence};

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
        let half = if adapter.half { "f16 and f32" } else { "f32 alone" };
        let largest = bytes(adapter.largest_tensor);
        let memory = adapter.memory.map_or_else(String::new, |all| format!(", {}", bytes(all)));
        println!("  {}{memory}, {half}, largest tensor {largest}", adapter.description);
    }
    let pack = args.engine.pack.open()?;
    let chosen = args.engine.choose(&pack)?;
    println!("  --device {} computes on: {}", args.engine.device, chosen.description);
    println!("Memory");
    match memory::total().zip(memory::available()) {
        Some((total, free)) => println!("  {} in all, {} free", bytes(total), bytes(free)),
        None => println!("  not known on this system"),
    }
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
    println!("  {} stored", bytes(stored));
    for (name, file) in &manifest.files {
        println!("    {name:<22} {:>9}  {}", bytes(file.bytes), &file.sha256[..12]);
    }
    let (clips, refined) = (manifest.longest_task(), manifest.vdm.is_some());
    let job = Job { clips, refined, ..Job::on(&chosen) };
    let estimate = Estimate::of(manifest, job);
    println!(
        "Memory that a rollout of the longest task will need, estimated; diffusion model in {}",
        chosen.numbers
    );
    print!("{}", estimate.table(Residence::Kept));
    if job.refined {
        let least = bytes(estimate.peak(Residence::Released));
        println!("  with the diffusion model released between clips (rollout --memory): {least}");
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
