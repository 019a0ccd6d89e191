//! The control branch: the first blocks of the transformer again, fed with the coarse video, whose
//! outputs are added to the main network's blocks.

use burn::module::Module;
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::tensor::activation::silu;
use burn::tensor::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use super::block::{linear, through};
use super::dit::{
    DIT_KEYS, DitConfig, DitInput, IGNORED, RENAMES, Trunk, padding_channel, patches,
};
use crate::weights::KeyTable;

/// Hidden widths of the layers that read the hint.
const HINT_WIDTHS: [usize; 7] = [16, 16, 32, 32, 96, 96, 256];

/// The one `hint_channels` for which the hint is padded and cut into patches by the branch itself.
const PATCHED_HINT_CHANNELS: usize = 128;

/// The reference's keys of the control branch.
pub const CONTROL_KEYS: KeyTable = KeyTable {
    prefix: "net_ctrl.",
    renames: &[
        RENAMES[0],
        RENAMES[1],
        RENAMES[2],
        RENAMES[3],
        RENAMES[4],
        RENAMES[5],
        RENAMES[6],
        RENAMES[7],
        (".hint_embed.", ".x_embedder2.proj.1."),
        // Between the reference's linear layers stand activations, which count.
        (".hint_layers.0.", ".input_hint_block.0."),
        (".hint_layers.1.", ".input_hint_block.2."),
        (".hint_layers.2.", ".input_hint_block.4."),
        (".hint_layers.3.", ".input_hint_block.6."),
        (".hint_layers.4.", ".input_hint_block.8."),
        (".hint_layers.5.", ".input_hint_block.10."),
        (".hint_layers.6.", ".input_hint_block.12."),
        (".hint_layers.7.", ".input_hint_block.14."),
        (".zero_blocks.", ".zero_blocks.block"),
    ],
    ignored: &[
        IGNORED[0],
        IGNORED[1],
        IGNORED[2],
        IGNORED[3],
        IGNORED[4],
        IGNORED[5],
        IGNORED[6],
        IGNORED[7],
        ("final_layer.linear.weight", "never used by the reference's branch"),
        ("final_layer.adaln_modulation.1.weight", "never used by the reference's branch"),
        ("final_layer.adaln_modulation.2.weight", "never used by the reference's branch"),
    ],
};

/// The key of the transformer's tensor that a tensor of the control branch begins as a copy of, if
/// the transformer has one of that name.
pub fn control_begins_as(key: &str) -> Option<String> {
    key.strip_prefix(CONTROL_KEYS.prefix).map(|rest| format!("{}{rest}", DIT_KEYS.prefix))
}

/// Configuration of a [`ControlBranch`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ControlConfig {
    /// The main network's configuration.
    pub dit: DitConfig,
    /// How many of the first blocks are copied.
    pub num_blocks: usize,
    /// 128: the hint is a latent like the main input, filled up with zero channels. Any other
    /// number: the hint has this many channels and one position a token.
    pub hint_channels: usize,
    /// What every output is multiplied with.
    pub control_weight: f64,
}

impl ControlConfig {
    /// The control branch of the release, `net_ctrl.` in `VideoWorld2_dLDM_DiT.pth`.
    pub fn videoworld2_2b() -> Self {
        Self {
            dit: DitConfig::videoworld2_2b(),
            num_blocks: 3,
            hint_channels: PATCHED_HINT_CHANNELS,
            control_weight: 0.5,
        }
    }

    /// The control branch of the small pack.
    pub fn craft_mini() -> Self {
        Self { dit: DitConfig::craft_mini(), num_blocks: 2, ..Self::videoworld2_2b() }
    }

    /// Creates the branch with fresh weights. Its outputs are zero until trained.
    pub fn init(&self, device: &Device) -> ControlBranch {
        let width = self.dit.model_channels;
        let inputs = if self.patches_hint() {
            (self.hint_channels + 1) * self.dit.patch * self.dit.patch
        } else {
            self.hint_channels
        };
        let mut fan_in = width;
        let mut hint_layers = Vec::new();
        for outputs in HINT_WIDTHS {
            hint_layers.push(LinearConfig::new(fan_in, outputs).init(device));
            fan_in = outputs;
        }
        let silent = |inputs| {
            LinearConfig::new(inputs, width).with_initializer(Initializer::Zeros).init(device)
        };
        hint_layers.push(silent(fan_in));
        ControlBranch {
            trunk: self.dit.init_trunk(self.num_blocks, device),
            hint_embed: linear(inputs, width, device),
            hint_layers,
            zero_blocks: (0..self.num_blocks).map(|_| silent(width)).collect(),
            config: self.clone(),
        }
    }

    fn patches_hint(&self) -> bool {
        self.hint_channels == PATCHED_HINT_CHANNELS
    }

    /// Whether the hint can be a latent of so many channels: filled up, or as it is where every
    /// position is a token.
    pub fn takes_latents(&self, channels: usize) -> bool {
        match self.patches_hint() {
            true => channels <= self.hint_channels,
            false => channels == self.hint_channels && self.dit.patch == 1,
        }
    }
}

/// The control branch.
#[derive(Module, Debug)]
pub struct ControlBranch {
    trunk: Trunk,
    hint_embed: Linear,
    hint_layers: Vec<Linear>,
    zero_blocks: Vec<Linear>,
    #[module(skip)]
    config: ControlConfig,
}

impl ControlBranch {
    pub fn config(&self) -> &ControlConfig {
        &self.config
    }

    /// What is added after the main network's first blocks, `[batch, frames, tokens per frame, width]` each.
    ///
    /// `hint` is the coarse video's latent, `[batch, channel, frames, height, width]`.
    pub fn forward(&self, input: &DitInput, hint: Tensor<5>) -> Vec<Tensor<4>> {
        let hint = self.read_hint(input, hint);
        let (mut x, around) = self.trunk.enter(input);
        let mut residuals = Vec::with_capacity(self.zero_blocks.len());
        for (i, (block, zero)) in self.trunk.blocks.iter().zip(&self.zero_blocks).enumerate() {
            x = block.forward(x, &around);
            if i == 0 {
                x = x + hint.clone();
            }
            let residual = through(zero, x.clone().cast(self.trunk.precision()));
            residuals.push(residual.cast(DType::F32) * self.config.control_weight);
        }
        residuals
    }

    fn read_hint(&self, input: &DitInput, hint: Tensor<5>) -> Tensor<4> {
        let tokens = if self.config.patches_hint() {
            let [batch, channels, frames, height, width] = hint.dims();
            let missing = self.config.hint_channels - channels;
            let zeros = Tensor::zeros([batch, missing, frames, height, width], &hint.device());
            let padding = padding_channel(input.padding_mask.as_ref(), &hint);
            let all = Tensor::cat(vec![hint, zeros, padding], 1);
            patches(all, self.config.dit.patch)
        } else {
            patches(hint, 1)
        };
        let mut x = through(&self.hint_embed, tokens.cast(self.trunk.precision()));
        let last = self.hint_layers.len() - 1;
        for (i, layer) in self.hint_layers.iter().enumerate() {
            x = through(layer, x);
            if i < last {
                x = silu(x);
            }
        }
        x.cast(DType::F32)
    }
}
