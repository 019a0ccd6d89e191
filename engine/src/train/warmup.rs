//! Stage 1: the dLDM alone, by reconstruction.
//!
//! The release starts from a pretrained video tokenizer; here a first part of the stage trains
//! encoder and decoder as a plain video autoencoder in its place.

use std::path::Path;
use std::sync::Arc;

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::gelu;
use burn::tensor::{Device, Tensor};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::dye::{Dye, dyed};
use super::pool::PoolClip;
use super::vae::scalar;
use super::{ClipPool, Run, Schedule, Subject, Tick, TrainError, stack};
use crate::craft::Task;
use crate::dldm::{Dldm, DldmConfig, Picked};
use crate::media::{FrameSize, last_frame};

/// Share of the stage that trains encoder and decoder as a plain autoencoder.
const AUTOENCODER_SHARE: f64 = 0.08;
/// Share of the stage after which squared errors give way to absolute ones: absolute errors from
/// the start stay at "repeat the first frame", the median of most pixels.
const SQUARED_SHARE: f64 = 0.7;
/// How much more a moving pixel counts than a resting one.
const MOVING_WEIGHT: f32 = 12.0;
/// A pixel moves when it differs from the first frame by more than this, on the scale -1..=1.
const MOVING_THRESHOLD: f32 = 0.15;
/// Share of the stage over which the motion head fades out.
const MOTION_SHARE: f64 = 0.6;
/// Share of the clips that begin where the painted clip before them ended.
pub(super) const CARRIED_SHARE: f64 = 0.8;
/// Share of the stage after which painted clips are fit to begin with, and the decoder is taught what
/// rollouts ask of it: other colours, codes of another material.
const CARRIED_AFTER: f64 = MOTION_SHARE;
/// Share of the clips whose decoder hears the codes of a clip of the other material.
const FOREIGN_SHARE: f64 = 0.125;
/// How far apart colours are that count as alike, on the scale -1..=1.
const ALIKE: f32 = 0.1;
/// What it costs a picked colour to come from other places, beside being far from the wanted one.
const UNLIKELY_WEIGHT: f32 = 0.05;
/// Cells of the map that the motion head predicts, along height and width.
const MOTION_CELLS: [usize; 2] = [8, 12];

/// The dLDM with the head that gets its codes started.
///
/// A decoder that does not listen yet gives the queries nothing to learn from, and queries that
/// say nothing give the decoder no reason to listen. The head breaks the circle: from the codes of
/// a step it predicts where the picture changes in that step, without colours. It fades out and is
/// not part of the pack.
#[derive(Module, Debug)]
pub struct Warmup {
    pub dldm: Dldm,
    hidden: Linear,
    motion: Linear,
}

impl Warmup {
    /// A dLDM of these sizes with a fresh head.
    pub fn new(dldm: Dldm, config: &DldmConfig, device: &Device) -> Self {
        let inputs = config.num_queries * config.levels.len();
        let cells = MOTION_CELLS.iter().product();
        Self {
            dldm,
            hidden: LinearConfig::new(inputs, 4 * cells).init(device),
            motion: LinearConfig::new(4 * cells, cells).init(device),
        }
    }

    /// Squared error of the predicted motion.
    ///
    /// # Shapes
    /// `codes` `[batch, dimension, step * query]`, `video` `[batch, 3, time, height, width]`
    fn motion_error(&self, codes: Tensor<3>, video: &Tensor<5>) -> Tensor<1> {
        let target = motion(video);
        let [batch, steps, _] = target.dims();
        let [_, dimensions, tokens] = codes.dims();
        let codes = codes.swap_dims(1, 2).reshape([batch, steps, tokens / steps * dimensions]);
        let found = self.motion.forward(gelu(self.hidden.forward(codes)));
        (found - target).square().mean()
    }
}

/// How much each cell of the picture changes in each step, the largest change of a clip being 1.
///
/// # Shapes
/// `[batch, 3, 1 + 4 * step, height, width]` to `[batch, step, cell]`
fn motion(video: &Tensor<5>) -> Tensor<3> {
    let [batch, channels, time, height, width] = video.dims();
    let steps = (time - 1) / 4;
    let [rows, columns] = MOTION_CELLS;
    let ends =
        Tensor::cat((0..=steps).map(|step| video.clone().narrow(2, 4 * step, 1)).collect(), 2);
    let change = ends.clone().narrow(2, 1, steps) - ends.narrow(2, 0, steps);
    let shape = [batch * channels * steps, rows, height / rows, columns * (width / columns)];
    let by_rows = change.abs().reshape(shape).mean_dim(2);
    let shape = [batch, channels, steps, rows * columns, width / columns];
    let cells = by_rows.reshape(shape).mean_dim(4).mean_dim(1);
    let cells: Tensor<3> = cells.reshape([batch, steps, rows * columns]);
    let largest = cells.clone().max_dim(2).max_dim(1);
    cells / (largest + 1e-3)
}

/// What the stage trains on, and how.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub size: FrameSize,
    /// Clips an iteration.
    pub batch: usize,
    /// A dLDM that is trained skips what gets fresh weights started: plain autoencoding, squared
    /// errors, the motion head.
    pub trained: bool,
    /// Trains the decoder alone: what the codes say stays as it is, and so a policy fits on.
    pub keep_codes: bool,
}

/// Trains the dLDM of `start`.
///
/// A batch walks through as many episodes side by side, so that a clip can begin with what the
/// decoder itself painted one iteration ago, as it will in a rollout. The true clip stays the
/// target: the decoder learns to mend its own mistakes before they add up.
///
/// Once it does so, it also meets codes that cannot happen in its scene, those of blocks on a sheet
/// of paper, and learns to leave the scene as it is. Unasked it took them for the likeliest fold.
///
/// # Errors
/// See [`TrainError`].
pub fn train(
    folder: &Path,
    start: Warmup,
    Settings { size, batch, trained, keep_codes }: Settings,
    schedule: Schedule,
    device: &Device,
    on_tick: &mut dyn FnMut(&Tick),
) -> Result<Dldm, TrainError> {
    let device = device.clone().autodiff();
    let mut run = Run::open("warmup", folder, start, schedule, on_tick)?;
    if keep_codes {
        run.model.dldm = run.model.dldm.with_fixed_codes();
    }
    let seed = run.iteration() as u64;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let pool = ClipPool::start(Subject::Tasks, size, seed * 1000, 12_000, 4 * batch);
    let mut gap = 0.0;
    let mut places = vec![None; batch];
    let mut dyes = vec![Dye::NONE; batch];
    let mut ends: Option<Tensor<5>> = None;
    while !run.is_done() {
        let clips = pool.walk(&mut places, &mut rng);
        let frames: Vec<_> = clips.iter().map(|clip| clip.frames.as_slice()).collect();
        let video = stack(&frames, &device);
        let progress = if trained { 1.0 } else { run.progress() };
        let carried: Vec<bool> =
            clips.iter().map(|clip| clip.step > 0 && rng.random_bool(CARRIED_SHARE)).collect();
        let in_rollouts = progress >= CARRIED_AFTER;
        for (dye, _) in dyes.iter_mut().zip(&clips).filter(|(_, clip)| clip.step == 0) {
            *dye = if in_rollouts { Dye::draw(&mut rng) } else { Dye::NONE };
        }
        let dldm = &run.model.dldm;
        let codes = match keep_codes {
            true => dldm.quantize(dldm.encode(video.clone()).z).codes,
            false => dldm.codes_in_training(video.clone()),
        };
        let motion_error = run.model.motion_error(codes.clone(), &video);
        let video = dyed(&video, &dyes);
        let start = begin_with(video.clone().slice_dim(2, 0..1), ends.take(), &carried);
        let weight = moving_weight(&video, &start);
        let (heard, target) = match in_rollouts {
            true => {
                let heard = listeners(&clips, &mut rng);
                end_where_foreign(&mut places, &heard);
                (foreign_codes(&codes, &heard), foreign_targets(&video, &start, &heard))
            }
            false => (codes, video.clone()),
        };
        let out = dldm.paint(start.clone(), heard.clone());
        let picking = out.picked.map(|picked| picking_error(picked, &target, &weight));
        let painted = if progress < AUTOENCODER_SHARE {
            dldm.autoencode(target.clone())
        } else {
            if run.iteration() % 20 == 0 {
                gap = wrong_code_gap(dldm, &target, start, &heard, &out.video);
            }
            if in_rollouts {
                ends = Some(last_frame(out.video.clone()).detach().clamp(-1.0, 1.0));
            }
            out.video
        };
        let difference = painted - target;
        let error = if progress < SQUARED_SHARE { difference.square() } else { difference.abs() };
        let loss = (error * weight.clone()).mean() / weight.mean();
        let fade = (1.0 - progress / MOTION_SHARE).max(0.0);
        let mut measures = vec![("wrong_code_gap_db", gap), ("motion", scalar(&motion_error))];
        let mut loss = loss + motion_error * fade;
        if let Some(picking) = picking {
            measures.push(("picking", scalar(&picking)));
            loss = loss + picking;
        }
        run.step(loss, measures)?;
    }
    Ok(run.finish()?.dldm)
}

/// Whose codes each clip of a batch hears: its own, or now and then those of a clip of the other
/// material.
fn listeners(clips: &[Arc<PoolClip>], rng: &mut ChaCha8Rng) -> Vec<usize> {
    let folds: Vec<_> = clips.iter().map(|clip| clip.task.map(Task::folds_paper)).collect();
    (0..clips.len())
        .map(|own| {
            let others: Vec<_> = (0..clips.len()).filter(|at| folds[*at] != folds[own]).collect();
            match !others.is_empty() && rng.random_bool(FOREIGN_SHARE) {
                true => others[rng.random_range(0..others.len())],
                false => own,
            }
        })
        .collect()
}

/// A scene that foreign codes left as it was lacks a step: its episode does not go on from there.
fn end_where_foreign(places: &mut [Option<usize>], heard: &[usize]) {
    let rows = places.iter_mut().zip(heard).enumerate();
    rows.filter(|(own, (_, from))| own != *from).for_each(|(_, (place, _))| *place = None);
}

/// The codes that each clip hears, `[batch, dimension, token]`. No gradient leads to foreign ones:
/// what a clip's codes say is not for another scene to decide.
fn foreign_codes(codes: &Tensor<3>, heard: &[usize]) -> Tensor<3> {
    let rows = heard.iter().enumerate().map(|(own, from)| {
        let row = codes.clone().narrow(0, *from, 1);
        if *from == own { row } else { row.detach() }
    });
    Tensor::cat(rows.collect(), 0)
}

/// What each clip should become, `[batch, 3, time, height, width]`: with codes of another scene the
/// frame it begins with, `[batch, 3, 1, height, width]`.
fn foreign_targets(video: &Tensor<5>, start: &Tensor<5>, heard: &[usize]) -> Tensor<5> {
    let time = video.dims()[2];
    let rows = heard.iter().enumerate().map(|(own, from)| match *from == own {
        true => video.clone().narrow(0, own, 1),
        false => start.clone().narrow(0, own, 1).repeat_dim(2, time),
    });
    Tensor::cat(rows.collect(), 0)
}

/// What each clip of a batch begins with: its end of `ends` where it is `carried`, else its own
/// first frame.
///
/// # Shapes
/// All are `[batch, 3, 1, height, width]`.
fn begin_with(first: Tensor<5>, ends: Option<Tensor<5>>, carried: &[bool]) -> Tensor<5> {
    let Some(ends) = ends else { return first };
    let rows = carried.iter().enumerate().map(|(row, carried)| {
        let from = if *carried { &ends } else { &first };
        from.clone().narrow(0, row, 1)
    });
    Tensor::cat(rows.collect(), 0)
}

/// `1 + MOVING_WEIGHT` where a pixel differs from the frame the clip begins with, `1` elsewhere.
///
/// # Shapes
/// `[batch, 3, time, height, width]` to `[batch, 1, time, height, width]`.
pub fn moving_weight(video: &Tensor<5>, start: &Tensor<5>) -> Tensor<5> {
    moving(video, start) * MOVING_WEIGHT + 1.0
}

/// Error of the colours picked from the first frame, where the picture moves: how far each is from
/// the wanted one, and how little of it comes from places that have that colour.
///
/// Judged through the video alone they were never learned: paint that tells warm from cold came
/// first, and then little was left to gain. And a mean of the colours of many places tells a place
/// that nobody looks at yet nearly nothing, however right its colour is; the logarithm does.
///
/// # Shapes
/// `video` `[batch, 3, time, height, width]`, `weight` of [`moving_weight`]
fn picking_error(picked: Picked, video: &Tensor<5>, weight: &Tensor<5>) -> Tensor<1> {
    let [batch, channels, steps, rows, columns] = picked.colours.dims();
    let (wanted, moving) = (means(video, steps - 1, rows, columns), weight.clone() - 1.0);
    let moving = means(&moving, steps - 1, rows, columns);
    let far = (picked.colours.narrow(2, 1, steps - 1) - wanted.clone()).abs().mean_dim(1);

    let (first, asked) = (rows * columns, (steps - 1) * rows * columns);
    let wanted: Tensor<4> = wanted.reshape([batch, channels, asked, 1]);
    let there: Tensor<4> = picked.places.unsqueeze_dim(2);
    let apart: Tensor<3> = (wanted - there).abs().mean_dim(1).squeeze_dim(1);
    let alike = (apart / -ALIKE).exp();
    let share = (picked.shares.narrow(1, first, asked) * alike).sum_dim(2);
    let unlikely: Tensor<5> = -(share + 1e-4).log().reshape([batch, 1, steps - 1, rows, columns]);

    let error = (far + unlikely * UNLIKELY_WEIGHT) * moving.clone();
    error.mean() / (moving.mean() + 1e-3)
}

/// Means over the cells of a grid, without the first frame.
///
/// # Shapes
/// `[batch, channel, time, height, width]` to `[batch, channel, step, row, column]`
fn means(video: &Tensor<5>, steps: usize, rows: usize, columns: usize) -> Tensor<5> {
    let [batch, channels, time, height, width] = video.dims();
    let video = video.clone().narrow(2, 1, time - 1);
    let cubes = [steps, (time - 1) / steps, rows, height / rows, columns, width / columns];
    let [t, dt, h, dh, w, dw] = cubes;
    let cubes: Tensor<8> = video.reshape([batch, channels, t, dt, h, dh, w, dw]);
    cubes.mean_dims(&[3, 5, 7]).reshape([batch, channels, steps, rows, columns])
}

/// 1 where a pixel differs from the frame the clip begins with in any channel, else 0.
pub fn moving(video: &Tensor<5>, start: &Tensor<5>) -> Tensor<5> {
    let change = (video.clone() - start.clone()).abs().max_dim(1);
    change.greater_elem(MOVING_THRESHOLD).float()
}

/// How many decibels the moving region loses when each clip gets its neighbour's codes: near zero
/// means that the decoder does not listen to the codes.
fn wrong_code_gap(
    model: &Dldm,
    video: &Tensor<5>,
    start: Tensor<5>,
    codes: &Tensor<3>,
    painted: &Tensor<5>,
) -> f64 {
    let batch = video.dims()[0];
    if batch < 2 {
        return 0.0;
    }
    let codes = codes.clone().inner();
    let rolled =
        Tensor::cat(vec![codes.clone().slice_dim(0, 1..batch), codes.slice_dim(0, 0..1)], 0);
    let (video, start) = (video.clone().inner(), start.inner());
    let mask = moving(&video, &start);
    let wrong = model.valid().decode_from_frame(start, rolled);
    let error = |painted: Tensor<5>| {
        let squared = (painted - video.clone()).square() * mask.clone();
        f64::from(squared.mean().into_scalar::<f32>()).max(1e-12)
    };
    10.0 * (error(wrong) / error(painted.clone().inner())).log10()
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;

    use super::*;

    #[test]
    fn carried_clips_alone_begin_where_painted_ones_ended() {
        let device = Device::flex();
        let full = |value: f32| Tensor::<5>::full([3, 3, 1, 2, 2], value, &device);
        let begun = begin_with(full(0.0), Some(full(1.0)), &[false, true, false]);
        let rows: Vec<f32> = begun.mean_dims(&[1, 2, 3, 4]).into_data().try_into_vec().unwrap();
        assert_eq!(rows, [0.0, 1.0, 0.0]);
        let begun = begin_with(full(0.0), None, &[true; 3]);
        assert_eq!(begun.sum().into_scalar::<f32>(), 0.0, "nothing was painted yet");
    }

    #[test]
    fn foreign_codes_come_from_the_other_material_and_leave_the_scene_as_it_is() {
        let tasks = [Task::Boat, Task::Tower, Task::Airplane, Task::Person];
        let clip = |task| Arc::new(PoolClip { frames: Vec::new(), step: 0, task: Some(task) });
        let clips = tasks.map(clip);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (mut foreign, draws) = (0, 500);
        for _ in 0..draws {
            for (own, from) in listeners(&clips, &mut rng).into_iter().enumerate() {
                let other = tasks[from].folds_paper() != tasks[own].folds_paper();
                assert!(own == from || other);
                foreign += usize::from(own != from);
            }
        }
        let share = foreign as f64 / (draws * tasks.len()) as f64;
        assert!((share - FOREIGN_SHARE).abs() < 0.03, "{share}");
        let alone = [clips[0].clone(), clips[2].clone()];
        assert_eq!(listeners(&alone, &mut rng), [0, 1], "paper alone has no other material");

        let mut places = [Some(4), Some(9)];
        end_where_foreign(&mut places, &[0, 0]);
        assert_eq!(places, [Some(4), None]);

        let device = Device::flex();
        let of_rows = |[a, b]: [f32; 2], shape: [usize; 5]| {
            let row = |value: f32| Tensor::<5>::full(shape, value, &device);
            Tensor::cat(vec![row(a), row(b)], 0)
        };
        let (video, start) =
            (of_rows([1.0, 2.0], [1, 3, 5, 2, 2]), of_rows([3.0, 4.0], [1, 3, 1, 2, 2]));
        let targets = foreign_targets(&video, &start, &[0, 0]);
        assert_eq!(targets.dims(), video.dims());
        let rows: Vec<f32> = targets.mean_dims(&[1, 2, 3, 4]).into_data().try_into_vec().unwrap();
        assert_eq!(rows, [1.0, 4.0]);
    }

    #[test]
    fn only_own_codes_are_shaped_by_what_a_clip_should_become() {
        let device = Device::flex().autodiff();
        let codes = Tensor::<3>::ones([2, 1, 1], &device).require_grad();
        let heard = foreign_codes(&codes, &[0, 0]);
        let gradients = (heard * 3.0).sum().backward();
        let gradient: Vec<f32> =
            codes.grad(&gradients).expect("a leaf").into_data().try_into_vec().unwrap();
        assert_eq!(gradient, [3.0, 0.0]);
    }

    #[test]
    fn picked_colours_are_judged_where_the_picture_moves_and_nowhere_else() {
        let device = Device::flex();
        let start = Tensor::<5>::zeros([1, 3, 1, 4, 4], &device);
        // One 2x2 corner turns red in the second of two steps.
        let red = Tensor::<5>::ones([1, 1, 4, 2, 2], &device);
        let still = Tensor::<5>::zeros([1, 3, 9, 4, 4], &device);
        let video = still.slice_assign([0..1, 0..1, 5..9, 0..2, 2..4], red);
        let weight = moving_weight(&video, &start);
        // Of the four places of the first frame the last is red, the others are grey.
        let places = TensorData::new(
            vec![0.5_f32, 0.5, 0.5, 1.0, 0.5, 0.5, 0.5, 0.0, 0.5, 0.5, 0.5, 0.0],
            [1, 3, 4],
        );
        let places = Tensor::<3>::from_data(places, &device);
        let judged = |asked: Option<usize>, share: f32| {
            let grey = TensorData::new([1.0_f32, 0.0, 0.0, 0.0].repeat(12), [1, 12, 4]);
            let mut shares = Tensor::<3>::from_data(grey, &device);
            if let Some(asked) = asked {
                let row = TensorData::new(vec![1.0 - share, 0.0, 0.0, share], [1, 1, 4]);
                shares = shares
                    .slice_assign([0..1, asked..asked + 1, 0..4], Tensor::from_data(row, &device));
            }
            let colours = shares.clone().matmul(places.clone().swap_dims(1, 2));
            let colours = colours.reshape([1, 3, 2, 2, 3]).permute([0, 4, 1, 2, 3]);
            let picked = Picked { colours, shares, places: places.clone() };
            picking_error(picked, &video, &weight).into_scalar::<f32>()
        };
        let moves = 4 * 2 + 1;
        let right = judged(Some(moves), 1.0);
        assert!(right.abs() < 1e-5, "grey where nothing moves costs nothing: {right}");
        let wrong = judged(None, 0.0);
        for elsewhere in [moves - 4, moves + 1, 1] {
            assert_eq!(judged(Some(elsewhere), 1.0), wrong, "nothing moves at {elsewhere}");
        }
        // A place nobody looks at yet is worth looking at: the first thousandth saves more than five
        // thousandths of the way.
        let glimpse = judged(Some(moves), 1e-3);
        assert!(wrong - glimpse > 5e-3 * (wrong - right), "{wrong} {glimpse} {right}");
    }
}
