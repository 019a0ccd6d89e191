//! The networks of a pack on one device.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::{
    CONTROL, DIT, DLDM, Manifest, NEGATIVE, NEGATIVE_KEY, POLICY, Pack, PackError, Residence, VAE,
};
use crate::dldm::{self, Dldm};
use crate::gpu::{self, Chosen};
use crate::policy::{PLANNER_KEYS, Planner};
use crate::vdm::{CONTROL_KEYS, DIT_KEYS, VAE_KEYS, Vdm, VideoVae};
use crate::weights::{
    self, KeyTable, Numbers, Precision, TensorSource as _, Weights, WeightsError,
};

/// The networks of one pack, ready to compute.
pub struct Networks {
    pub dldm: Dldm,
    /// Its transformer and control branch have no weights under [`Residence::Released`].
    pub vdm: Option<Vdm>,
    pub planner: Option<Planner>,
    /// The context that guidance leads away from, `[1, tokens, channels]`.
    pub negative: Option<Tensor<3>>,
    pub device: Device,
    /// Those of transformer and control branch; the others are in single precision, see
    /// [`Chosen`].
    pub numbers: Numbers,
}

impl Networks {
    pub(super) fn load(
        pack: &Pack,
        device: &Device,
        residence: Residence,
        numbers: Numbers,
    ) -> Result<Self, PackError> {
        let manifest = &pack.manifest;
        let dldm = filled(pack, DLDM, manifest.dldm.init(device), &dldm::KEYS, Precision::F32)?;
        let vdm = match &manifest.vdm {
            Some(config) if residence != Residence::CoarseOnly => {
                let fresh = config.init(device);
                let vae = filled(pack, VAE, fresh.vae, &VAE_KEYS, Precision::F32)?;
                let vae = for_device(vae, device, numbers);
                let vdm = Vdm { vae, ..fresh };
                let kept = residence == Residence::Kept;
                Some(if kept { with_diffusion(pack, vdm, numbers)? } else { vdm })
            }
            _ => None,
        };
        let planner = match &manifest.planner {
            None => None,
            Some(config) => {
                let fresh = config.init(device);
                Some(filled(pack, POLICY, fresh, &PLANNER_KEYS, Precision::F32)?)
            }
        };
        let negative = match pack.has(NEGATIVE) {
            true => Some(negative(pack, device)?),
            false => None,
        };
        Ok(Self { dldm, vdm, planner, negative, device: device.clone(), numbers })
    }

    /// Networks of these sizes with random weights, without guidance's negative context.
    ///
    /// # Errors
    /// None that a user could bring about.
    pub(crate) fn drawn(manifest: &Manifest, chosen: &Chosen) -> Result<Self, WeightsError> {
        let (device, numbers) = (&chosen.device, chosen.numbers);
        let vdm = match &manifest.vdm {
            None => None,
            Some(config) => {
                let fresh = config.init(device);
                Some(Vdm {
                    vae: for_device(drawn(fresh.vae, &VAE_KEYS, Precision::F32)?, device, numbers),
                    dit: drawn(fresh.dit, &DIT_KEYS, numbers)?,
                    control: drawn(fresh.control, &CONTROL_KEYS, numbers)?,
                    ..fresh
                })
            }
        };
        let planner = manifest.planner.as_ref().map(|config| config.init(device));
        let planner = match planner {
            Some(fresh) => Some(drawn(fresh, &PLANNER_KEYS, Precision::F32)?),
            None => None,
        };
        let dldm = drawn(manifest.dldm.init(device), &dldm::KEYS, Precision::F32)?;
        Ok(Self { dldm, vdm, planner, negative: None, device: device.clone(), numbers })
    }

    /// The video diffusion model with all its weights, where they were left out on loading.
    ///
    /// # Errors
    /// As [`Pack::load`], should the files have changed since.
    ///
    /// # Panics
    /// Panics if there is none.
    pub(crate) fn with_diffusion(&self, pack: &Pack) -> Result<Vdm, PackError> {
        let (Some(vdm), Some(config)) = (&self.vdm, &pack.manifest.vdm) else {
            panic!("asked only where there is a video diffusion model");
        };
        // A fresh network takes no memory until its weights are looked at.
        let vdm = Vdm { vae: vdm.vae.clone(), ..config.init(&self.device) };
        with_diffusion(pack, vdm, self.numbers)
    }

    /// Code vectors `[1, dimension, code]` of code indices.
    pub fn codes(&self, codes: &[u16]) -> Tensor<3> {
        let indices: Vec<i32> = codes.iter().map(|code| i32::from(*code)).collect();
        let data = TensorData::new(indices, [1, codes.len()]);
        self.dldm.codes_from_indices(Tensor::<2, Int>::from_data(data, &self.device))
    }
}

/// The video autoencoder as a device computes it beside a diffusion model in these numbers.
fn for_device(vae: VideoVae, device: &Device, numbers: Numbers) -> VideoVae {
    match numbers.precision == Precision::F16 && gpu::has_matrix_units(device) {
        true => vae.with_half_kernels(),
        false => vae,
    }
}

fn with_diffusion(pack: &Pack, vdm: Vdm, numbers: Numbers) -> Result<Vdm, PackError> {
    Ok(Vdm {
        dit: filled(pack, DIT, vdm.dit, &DIT_KEYS, numbers)?,
        control: filled(pack, CONTROL, vdm.control, &CONTROL_KEYS, numbers)?,
        ..vdm
    })
}

/// A fresh network whose weights are drawn now and not when they are first looked at, held in the
/// numbers asked for.
pub(crate) fn drawn<M: Module>(
    fresh: M,
    keys: &KeyTable,
    numbers: impl Into<Numbers>,
) -> Result<M, WeightsError> {
    weights::load(&Weights::of(&fresh, keys), fresh, keys, numbers)
}

/// A fresh network with the weights of a file.
fn filled<M: Module>(
    pack: &Pack,
    file: &'static str,
    fresh: M,
    keys: &KeyTable,
    numbers: impl Into<Numbers>,
) -> Result<M, PackError> {
    weights::load(&pack.weights(file)?, fresh, keys, numbers)
        .map_err(|source| PackError::Weights { file, source })
}

fn negative(pack: &Pack, device: &Device) -> Result<Tensor<3>, PackError> {
    let weights = pack.weights(NEGATIVE)?;
    let fits = |source| PackError::Weights { file: NEGATIVE, source };
    let missing = || WeightsError::Missing(vec![NEGATIVE_KEY.to_owned()]);
    let shape = weights.shape(NEGATIVE_KEY).ok_or_else(missing).map_err(fits)?;
    let channels = pack.manifest.dldm.connector_channels;
    if shape.len() != 3 || shape[0] != 1 || shape[2] != channels {
        return Err(fits(WeightsError::Shape {
            key: NEGATIVE_KEY.to_owned(),
            found: shape.to_vec(),
            wanted: vec![1, shape.get(1).copied().unwrap_or(1), channels],
        }));
    }
    let values = weights.values(NEGATIVE_KEY).map_err(fits)?;
    Ok(Tensor::from_data(TensorData::new(values, shape.to_vec()), device))
}
