//! Which pack and which device, for every subcommand that computes.

use std::path::PathBuf;

use anyhow::Result;
use engine::gpu::{self, DeviceChoice};
use engine::pack::Pack;
use engine::rollout::{ClipStore, PackModels, Runner};
#[cfg(feature = "window")]
use engine::worker::PackSource;

/// Enough for the clips of a whole task at any size a pack may have.
const STORE_BUDGET: usize = 2 << 30;

#[derive(Debug, clap::Args)]
pub struct EngineArgs {
    /// Folder of a pack, instead of the one inside the program
    #[arg(long, value_name = "DIR")]
    pub pack: Option<PathBuf>,
    /// Where the networks run: auto, vulkan, metal, dx12 or cpu
    #[arg(long, default_value_t)]
    pub device: DeviceChoice,
}

impl EngineArgs {
    #[cfg(feature = "window")]
    pub fn source(&self) -> PackSource {
        self.pack.clone().map_or(PackSource::Embedded, PackSource::Folder)
    }

    pub fn open_pack(&self) -> Result<Pack> {
        Ok(match &self.pack {
            None => Pack::embedded()?,
            Some(folder) => Pack::open(folder)?,
        })
    }

    /// The pack on the device, saying on standard error what computes.
    pub fn runner(&self) -> Result<(Pack, Runner)> {
        let pack = self.open_pack()?;
        let chosen = gpu::choose(self.device)?;
        let fallback = self.device == DeviceChoice::Auto && chosen.description.starts_with("CPU");
        let why = if fallback { "no graphics card was found: " } else { "" };
        eprintln!("{why}computing on {}", chosen.description);
        let models = PackModels::load(&pack, &chosen)?;
        let runner = Runner::new(Box::new(models), ClipStore::new(STORE_BUDGET), 0);
        Ok((pack, runner))
    }
}
