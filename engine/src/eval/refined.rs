//! How much nearer the refined video comes to the truth than the coarse one.

use std::fmt;
use std::ops::ControlFlow;

use serde::Serialize;

use super::table::{Floor, Row, Table, Unit};
use super::{CoarseView, EvalError, Progress, check_frames, mean, unseen};
use crate::atlas::{gradient_deviation, moving_region, psnr, ssim};
use crate::media::{self, Frame};
use crate::pack::Networks;
use crate::rollout::{Models, RefineRequest};
use crate::vdm::Ground;
use crate::vdm::schedule::Beginning;

/// Every how many frames of a clip one is on the sheet.
const SHEET_STRIDE: usize = 2;

/// The table, and pictures to look at.
#[derive(Debug, Clone, Serialize)]
pub struct Refined {
    pub table: Table,
    /// Rows of truth, coarse and refined video and the truth through the autoencoder, one clip a task.
    #[serde(skip)]
    pub sheet: Frame,
}

impl fmt::Display for Refined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.table.fmt(f)
    }
}

/// One video beside the truth, its given first frame left out.
struct Likeness {
    ssim: f64,
    gradient_deviation: f64,
    psnr: f64,
    moving_psnr: f64,
}

impl Likeness {
    fn of(truth: &[Frame], found: &[Frame], moving: &[bool]) -> Self {
        let pairs = || truth.iter().zip(found).skip(1);
        Self {
            ssim: mean(pairs().map(|(a, b)| ssim(a, b).into())),
            gradient_deviation: mean(pairs().map(|(a, b)| gradient_deviation(a, b).into())),
            psnr: psnr(&truth[1..], &found[1..], None).into(),
            moving_psnr: psnr(&truth[1..], &found[1..], Some(moving)).into(),
        }
    }
}

/// Measures `clips` unseen clips a task, each painted from its true first frame and own codes.
/// `networks` are those of `models`; the video autoencoder is also measured alone, as the limit of
/// what refining can reach, and so is the ground that the painter begins with: one that leaves it worse
/// than it found it is no use.
///
/// # Errors
/// Fails without a diffusion model and on packs with clips of another length.
pub fn refined(
    models: &dyn Models,
    networks: &Networks,
    clips: usize,
    progress: &mut Progress<'_>,
) -> Result<Refined, EvalError> {
    let pack = models.pack().clone();
    check_frames(&pack)?;
    let vdm = networks.vdm.as_ref().ok_or(EvalError::NoRefiner)?;
    let vae = &vdm.vae;
    let view = CoarseView { models };
    let (mut coarse, mut fine) = (Vec::new(), Vec::new());
    let (mut limit, mut idle, mut sheet) = (Vec::new(), Vec::new(), Vec::new());
    let of = clips * pack.tasks.len();
    for index in 0..clips {
        for task in &pack.tasks {
            progress("Refining unseen clips", coarse.len(), of);
            let episode = unseen(*task, index);
            let truth = episode.clip(index % episode.num_clips(), pack.frame_size()).frames;
            let codes = view.encode(&truth);
            let painted = models.coarse(view.tensor(&truth[..1]), &codes);
            let large = media::resize_bilinear(painted.clone(), pack.frame_size());
            let first = media::tensor_from_frames(&[&truth[0]], models.device());
            let ground = (vdm.beginning == Beginning::Coarse)
                .then(|| Ground::new(vae, first.clone(), painted.clone()).untouched());
            let request = RefineRequest {
                first,
                coarse: painted,
                codes: &codes,
                seed: index as u64,
                steps: pack.sampling.refine_steps,
                guidance: pack.sampling.guidance,
                midway: &mut None,
            };
            let refined = models.refine(request, &mut |_| ControlFlow::Continue(()));
            let refined = refined.expect("nobody breaks off");
            let video =
                media::tensor_from_frames(&truth.iter().collect::<Vec<_>>(), models.device());
            let passed = media::frames_from_tensor(vae.decode(vae.encode(video)));
            let (large, refined) =
                (media::frames_from_tensor(large), media::frames_from_tensor(refined));
            let moving = moving_region(&truth);
            coarse.push(Likeness::of(&truth, &large, &moving));
            fine.push(Likeness::of(&truth, &refined, &moving));
            limit.push(Likeness::of(&truth, &passed, &moving));
            idle.extend(
                ground.map(|ground| {
                    Likeness::of(&truth, &media::frames_from_tensor(ground), &moving)
                }),
            );
            if index == 0 {
                let rows = [truth, large, refined, passed];
                sheet.extend(rows.into_iter().flat_map(|r| r.into_iter().step_by(SHEET_STRIDE)));
            }
        }
    }
    progress("Refining unseen clips", of, of);
    let columns = pack.frames_per_clip.div_ceil(SHEET_STRIDE);
    let of_both = |value: &dyn Fn(&Likeness) -> f64| {
        (mean(fine.iter().map(value)), mean(coarse.iter().map(value)))
    };
    let row = |name: &str, unit: Unit, (value, control): (f64, f64)| {
        Row::new(name, unit, value).beside(control)
    };
    let (ssim, deviation) = (of_both(&|l| l.ssim), of_both(&|l| l.gradient_deviation));
    let alone = |value: &dyn Fn(&Likeness) -> f64| mean(limit.iter().map(value));
    let mut rows = vec![
        row("SSIM", Unit::Number, ssim).floor(Floor::AtLeast(ssim.1)),
        row("gradient deviation, less is better", Unit::Number, deviation)
            .floor(Floor::AtMost(deviation.1)),
        row("PSNR", Unit::Decibels, of_both(&|l| l.psnr)),
        row("PSNR of the moving region", Unit::Decibels, of_both(&|l| l.moving_psnr)),
        Row::new("autoencoder alone, SSIM", Unit::Number, alone(&|l| l.ssim)),
        Row::new("autoencoder alone, PSNR", Unit::Decibels, alone(&|l| l.psnr)),
    ];
    if !idle.is_empty() {
        let idle = |value: &dyn Fn(&Likeness) -> f64| mean(idle.iter().map(value));
        rows.extend([
            Row::new("ground untouched, SSIM", Unit::Number, idle(&|l| l.ssim)),
            Row::new(
                "ground untouched, gradient deviation",
                Unit::Number,
                idle(&|l| l.gradient_deviation),
            ),
            Row::new("ground untouched, PSNR", Unit::Decibels, idle(&|l| l.psnr)),
            Row::new(
                "ground untouched, PSNR of the moving region",
                Unit::Decibels,
                idle(&|l| l.moving_psnr),
            ),
        ]);
    }
    let title = format!("Refined video of {of} unseen clips (control: coarse, scaled up)");
    let table = Table { title, rows };
    Ok(Refined { table, sheet: media::contact_strip(&sheet, columns) })
}
