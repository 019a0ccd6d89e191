//! Which pack, which device and what numbers, for every subcommand that computes.

use anyhow::Result;
use engine::gpu::{self, Chosen, ComputeChoice, DeviceChoice, PrecisionChoice};
use engine::pack::{Pack, PackSource, Residence};
use engine::rollout::{ClipStore, PackModels, Runner};

/// Clips of the small pack by the thousand, of the release 15 coarse ones. `rollout`, which writes all
/// of its clips at the end, keeps them whatever they take and asks before whether they fit.
const STORE_BUDGET: usize = 2 << 30;

#[derive(Debug, clap::Args)]
pub struct EngineArgs {
    /// Folder of a pack, or embedded: the one inside the program
    #[arg(long, value_name = "DIR", default_value_t)]
    pub pack: PackSource,
    /// Where the networks run: auto, vulkan, metal, dx12, cpu, or ws://HOST:PORT, the device that
    /// another machine lends (see serve)
    #[arg(long, visible_alias = "remote", value_name = "DEVICE", default_value_t)]
    pub device: DeviceChoice,
    /// What the other machine asks for; in VIDEOWORLD_TOKEN no list of processes shows it
    #[arg(long)]
    pub token: Option<String>,
    /// What the diffusion model computes in: f32, f16 or auto, which is f16 for packs of 250 million
    /// numbers or more on a graphics card that has it
    #[arg(long, value_name = "P", default_value_t)]
    pub precision: PrecisionChoice,
    /// Keep the diffusion model's linear weights in 8 bits: less memory, no more speed, and an error
    /// that verify tells
    #[arg(long)]
    pub eight_bit: bool,
}

impl EngineArgs {
    /// What is to compute, and in what numbers.
    pub fn computing(&self) -> ComputeChoice {
        let Self { precision, eight_bit, .. } = *self;
        let device = match (self.device, &self.token) {
            (DeviceChoice::Remote(remote), Some(token)) => {
                DeviceChoice::Remote(remote.with_token(token))
            }
            (device, _) => device,
        };
        ComputeChoice { device, precision, eight_bit }
    }

    /// The device, computing as asked for with this pack.
    pub fn choose(&self, pack: &Pack) -> Result<Chosen> {
        let computing = self.computing();
        let chosen = gpu::choose(computing.device)?;
        Ok(chosen.computing(computing, pack.manifest.diffusion_count())?)
    }

    /// The pack and the device, saying on standard error what computes.
    pub fn open(&self) -> Result<(Pack, Chosen)> {
        let pack = self.pack.open()?;
        let chosen = self.choose(&pack)?;
        let fallback = self.device == DeviceChoice::Auto && chosen.description.starts_with("CPU");
        let none = fallback && gpu::adapters().iter().all(|adapter| adapter.is_software);
        let why = if none { "no graphics card was found: " } else { "" };
        eprintln!("{why}computing on {}", chosen.description);
        if self.eight_bit {
            eprintln!("8-bit weights change the refined video; verify tells by how much");
        }
        Ok((pack, chosen))
    }

    /// All networks of the pack on the device.
    pub fn runner(&self) -> Result<(Pack, Runner)> {
        let (pack, chosen) = self.open()?;
        let runner = load(&pack, &chosen, Residence::Kept)?;
        Ok((pack, runner))
    }
}

/// Networks of the pack on the device.
pub fn load(pack: &Pack, chosen: &Chosen, residence: Residence) -> Result<Runner> {
    let models = PackModels::load(pack, chosen, residence)?;
    Ok(Runner::new(Box::new(models), ClipStore::new(STORE_BUDGET), 0))
}
