//! The networks of a pack on one device.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::{CONTROL, DIT, DLDM, NEGATIVE, NEGATIVE_KEY, POLICY, Pack, PackError, VAE};
use crate::dldm::{self, Dldm};
use crate::policy::{PLANNER_KEYS, Planner};
use crate::vdm::{CONTROL_KEYS, DIT_KEYS, VAE_KEYS, Vdm};
use crate::weights::{HostTensor, WeightsError};

/// The networks of one pack, ready to compute.
pub struct Networks {
    pub dldm: Dldm,
    pub vdm: Option<Vdm>,
    pub planner: Option<Planner>,
    /// The context that guidance leads away from, `[1, tokens, channels]`.
    pub negative: Option<Tensor<3>>,
    pub device: Device,
}

impl Networks {
    pub(super) fn load(pack: &Pack, device: &Device) -> Result<Self, PackError> {
        let manifest = &pack.manifest;
        let fits = |file| move |source| PackError::Weights { file, source };
        let dldm = pack
            .weights(DLDM)?
            .load_into(manifest.dldm.init(device), &dldm::KEYS)
            .map_err(fits(DLDM))?;
        let vdm = match &manifest.vdm {
            None => None,
            Some(config) => {
                let Vdm { vae, dit, control, sigmas, beginning } = config.init(device);
                Some(Vdm {
                    vae: pack.weights(VAE)?.load_into(vae, &VAE_KEYS).map_err(fits(VAE))?,
                    dit: pack.weights(DIT)?.load_into(dit, &DIT_KEYS).map_err(fits(DIT))?,
                    control: pack
                        .weights(CONTROL)?
                        .load_into(control, &CONTROL_KEYS)
                        .map_err(fits(CONTROL))?,
                    sigmas,
                    beginning,
                })
            }
        };
        let planner = match &manifest.planner {
            None => None,
            Some(config) => {
                let weights = pack.weights(POLICY)?;
                let loaded = weights.load_into(config.init(device), &PLANNER_KEYS);
                Some(loaded.map_err(fits(POLICY))?)
            }
        };
        let negative = match pack.has(NEGATIVE) {
            true => Some(negative(pack, device)?),
            false => None,
        };
        Ok(Self { dldm, vdm, planner, negative, device: device.clone() })
    }

    /// Code vectors `[1, dimension, code]` of code indices.
    pub fn codes(&self, codes: &[u16]) -> Tensor<3> {
        let indices: Vec<i32> = codes.iter().map(|code| i32::from(*code)).collect();
        let data = TensorData::new(indices, [1, codes.len()]);
        self.dldm.codes_from_indices(Tensor::<2, Int>::from_data(data, &self.device))
    }
}

fn negative(pack: &Pack, device: &Device) -> Result<Tensor<3>, PackError> {
    let weights = pack.weights(NEGATIVE)?;
    let missing = || WeightsError::Missing(vec![NEGATIVE_KEY.to_owned()]);
    let fits = |source| PackError::Weights { file: NEGATIVE, source };
    let HostTensor { shape, values } =
        weights.get(NEGATIVE_KEY).ok_or_else(missing).map_err(fits)?;
    let channels = pack.manifest.dldm.connector_channels;
    if shape.len() != 3 || shape[0] != 1 || shape[2] != channels {
        return Err(fits(WeightsError::Shape {
            key: NEGATIVE_KEY.to_owned(),
            found: shape.clone(),
            wanted: vec![1, shape.get(1).copied().unwrap_or(1), channels],
        }));
    }
    Ok(Tensor::from_data(TensorData::new(values.clone(), shape.clone()), device))
}
