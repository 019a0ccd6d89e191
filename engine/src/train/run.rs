//! One training run of one stage: budget, learning rate, log, plot, and checkpoints that resume.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use burn::grad_clipping::GradientClippingConfig;
use burn::module::Module;
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{TrainError, plot};

/// How long a stage trains and how fast it learns.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// Training time, over all resumed parts together.
    pub budget: Duration,
    /// Ends the stage earlier than the budget does; for tests and small runs.
    pub max_iterations: Option<usize>,
    /// Peak learning rate; it rises over the first `warmup` iterations and falls as a half cosine.
    pub learning_rate: f64,
    pub warmup: usize,
}

/// What a checkpoint remembers beside weights and optimizer.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct State {
    iteration: usize,
    /// Time spent training before this start.
    seconds: f64,
}

/// One line of the log: named values of one iteration.
pub type Measures = Vec<(&'static str, f64)>;

/// What a run tells the person waiting for it.
#[derive(Debug, Clone)]
pub struct Tick {
    pub stage: &'static str,
    pub iteration: usize,
    pub per_second: f64,
    pub left: Duration,
    /// Means since the last tick.
    pub measures: Measures,
}

/// A stage in training. Killed at any time it loses at most [`Run::CHECKPOINT_EVERY`].
pub struct Run<'a, M: Module> {
    pub model: M,
    stage: &'static str,
    folder: PathBuf,
    optimizer: ModuleOptimizer,
    schedule: Schedule,
    state: State,
    started: Instant,
    last_checkpoint: Instant,
    last_tick: (Instant, usize),
    since_tick: Vec<Measures>,
    on_tick: &'a mut dyn FnMut(&Tick),
}

impl<'a, M: Module> Run<'a, M> {
    pub const CHECKPOINT_EVERY: Duration = Duration::from_secs(90);
    const TICK_EVERY: Duration = Duration::from_secs(5);

    /// Continues from the checkpoint in `folder`, or starts there with `model`.
    ///
    /// # Errors
    /// Fails when the folder cannot be made or holds a checkpoint that does not fit.
    pub fn open(
        stage: &'static str,
        folder: &Path,
        model: M,
        schedule: Schedule,
        on_tick: &'a mut dyn FnMut(&Tick),
    ) -> Result<Self, TrainError> {
        fs::create_dir_all(folder).map_err(|e| TrainError::file(folder, e))?;
        // The norm is clipped per parameter, which is what burn offers.
        let mut optimizer = AdamWConfig::new()
            .with_beta_2(0.99)
            .with_weight_decay(0.01)
            .with_grad_clipping(Some(GradientClippingConfig::Norm(1.0)))
            .init();
        let (mut model, mut state) = (model, State::default());
        let checkpoint = folder.join("checkpoint");
        if checkpoint.is_dir() {
            let text = fs::read_to_string(checkpoint.join("state.json"))
                .map_err(|e| TrainError::file(&checkpoint, e))?;
            state =
                serde_json::from_str(&text).map_err(|e| TrainError::checkpoint(&checkpoint, e))?;
            model = model
                .try_load_file(checkpoint.join("model.bpk"))
                .map_err(|e| TrainError::checkpoint(&checkpoint, e))?;
            optimizer = optimizer
                .load(checkpoint.join("optimizer.bpk"))
                .map_err(|e| TrainError::checkpoint(&checkpoint, e))?;
        }
        let now = Instant::now();
        Ok(Self {
            model,
            stage,
            folder: folder.to_owned(),
            optimizer,
            schedule,
            last_tick: (now, state.iteration),
            state,
            started: now,
            last_checkpoint: now,
            since_tick: Vec::new(),
            on_tick,
        })
    }

    /// Share of the budget that is spent, `0..=1`.
    pub fn progress(&self) -> f64 {
        let by_time = self.seconds() / self.schedule.budget.as_secs_f64().max(1e-9);
        let by_count = self
            .schedule
            .max_iterations
            .map_or(0.0, |max| self.state.iteration as f64 / max.max(1) as f64);
        by_time.max(by_count).min(1.0)
    }

    pub fn is_done(&self) -> bool {
        self.progress() >= 1.0
    }

    pub fn iteration(&self) -> usize {
        self.state.iteration
    }

    fn seconds(&self) -> f64 {
        self.state.seconds + self.started.elapsed().as_secs_f64()
    }

    fn learning_rate(&self) -> f64 {
        let rise = (self.state.iteration + 1) as f64 / self.schedule.warmup.max(1) as f64;
        let fall = 0.5 * (1.0 + (std::f64::consts::PI * self.progress()).cos());
        self.schedule.learning_rate * rise.min(1.0) * fall.max(0.01)
    }

    /// One optimizer step on `loss`, logged with `measures` beside it.
    ///
    /// # Errors
    /// Fails when the loss is not finite, or the log or a checkpoint cannot be written.
    pub fn step(&mut self, loss: Tensor<1>, mut measures: Measures) -> Result<(), TrainError> {
        let value = f64::from(loss.clone().inner().into_scalar::<f32>());
        if !value.is_finite() {
            return Err(TrainError::Diverged {
                stage: self.stage,
                iteration: self.state.iteration,
            });
        }
        let rate = self.learning_rate();
        let gradients = GradientsParams::from_grads(loss.backward(), &self.model);
        self.model = self.optimizer.step(rate, self.model.clone(), gradients);
        self.state.iteration += 1;
        measures.insert(0, ("loss", value));
        self.since_tick.push(measures);
        if self.last_tick.0.elapsed() >= Self::TICK_EVERY {
            self.tick()?;
        }
        if self.last_checkpoint.elapsed() >= Self::CHECKPOINT_EVERY {
            self.checkpoint()?;
        }
        Ok(())
    }

    /// Writes the last checkpoint and the plot, and hands the model out.
    ///
    /// # Errors
    /// Fails when they cannot be written.
    pub fn finish(mut self) -> Result<M, TrainError> {
        self.tick()?;
        self.checkpoint()?;
        plot::training_log(&self.folder.join("log.csv"), &self.folder.join("log.png"))?;
        Ok(self.model)
    }

    fn tick(&mut self) -> Result<(), TrainError> {
        let Some(first) = self.since_tick.first() else { return Ok(()) };
        let count = self.since_tick.len() as f64;
        let measures: Measures = first
            .iter()
            .enumerate()
            .map(|(i, (name, _))| {
                let sum: f64 = self.since_tick.iter().filter_map(|m| m.get(i)).map(|m| m.1).sum();
                (*name, sum / count)
            })
            .collect();
        self.write_log(&measures)?;
        let (then, iteration) = self.last_tick;
        let seconds = then.elapsed().as_secs_f64().max(1e-9);
        let progress = self.progress();
        let left = self.seconds() * (1.0 - progress) / progress.max(1e-6);
        (self.on_tick)(&Tick {
            stage: self.stage,
            iteration: self.state.iteration,
            per_second: (self.state.iteration - iteration) as f64 / seconds,
            left: Duration::from_secs_f64(left.clamp(0.0, 1e7)),
            measures,
        });
        self.since_tick.clear();
        self.last_tick = (Instant::now(), self.state.iteration);
        Ok(())
    }

    fn write_log(&self, measures: &Measures) -> Result<(), TrainError> {
        let path = self.folder.join("log.csv");
        let is_new = !path.exists();
        let mut line = String::new();
        if is_new {
            line.push_str("iteration,seconds,learning_rate");
            measures.iter().for_each(|(name, _)| line.push_str(&format!(",{name}")));
            line.push('\n');
        }
        line.push_str(&format!(
            "{},{:.1},{:.3e}",
            self.state.iteration,
            self.seconds(),
            self.learning_rate()
        ));
        measures.iter().for_each(|(_, value)| line.push_str(&format!(",{value:.6}")));
        line.push('\n');
        fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(line.as_bytes()))
            .map_err(|e| TrainError::file(&path, e))
    }

    /// Writes beside the old checkpoint and swaps: a kill in between leaves one that is whole, which
    /// [`Run::open`] finds under either name.
    fn checkpoint(&mut self) -> Result<(), TrainError> {
        let (new, whole) = (self.folder.join("checkpoint.new"), self.folder.join("checkpoint"));
        let old = self.folder.join("checkpoint.old");
        let failed = |e| TrainError::file(&whole, e);
        if new.exists() {
            fs::remove_dir_all(&new).map_err(failed)?;
        }
        fs::create_dir_all(&new).map_err(failed)?;
        self.model
            .clone()
            .save_file(new.join("model.bpk"))
            .map_err(|e| TrainError::checkpoint(&new, e))?;
        self.optimizer
            .save(new.join("optimizer.bpk"))
            .map_err(|e| TrainError::checkpoint(&new, e))?;
        let state = State { iteration: self.state.iteration, seconds: self.seconds() };
        let text = serde_json::to_string(&state).map_err(|e| TrainError::checkpoint(&new, e))?;
        fs::write(new.join("state.json"), text).map_err(failed)?;
        if old.exists() {
            fs::remove_dir_all(&old).map_err(failed)?;
        }
        if whole.exists() {
            fs::rename(&whole, &old).map_err(failed)?;
        }
        fs::rename(&new, &whole).map_err(failed)?;
        if old.exists() {
            fs::remove_dir_all(&old).map_err(failed)?;
        }
        self.last_checkpoint = Instant::now();
        Ok(())
    }
}

/// Gives a stage back the checkpoint that a kill between the two renames of [`Run::checkpoint`] left
/// under its other name.
pub(super) fn put_back(folder: &Path) -> Result<(), TrainError> {
    let (whole, old) = (folder.join("checkpoint"), folder.join("checkpoint.old"));
    if !whole.exists() && old.is_dir() {
        fs::rename(&old, &whole).map_err(|e| TrainError::file(&whole, e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::Device;

    use super::*;

    fn run<'a>(folder: &Path, on_tick: &'a mut dyn FnMut(&Tick)) -> Run<'a, Linear> {
        let schedule = Schedule {
            budget: Duration::from_secs(60),
            max_iterations: Some(100),
            learning_rate: 1e-3,
            warmup: 1,
        };
        let model = LinearConfig::new(2, 1).init(&Device::flex().autodiff());
        Run::open("test", folder, model, schedule, on_tick).unwrap()
    }

    #[test]
    fn a_kill_between_the_renames_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut on_tick = |_: &Tick| {};
        let mut first = run(dir.path(), &mut on_tick);
        let input = Tensor::<2>::ones([1, 2], &Device::flex().autodiff());
        for _ in 0..3 {
            let loss = first.model.forward(input.clone()).sum();
            first.step(loss, Vec::new()).unwrap();
        }
        first.checkpoint().unwrap();
        let weight = first.model.weight.val().into_data();
        drop(first);
        let (whole, old) = (dir.path().join("checkpoint"), dir.path().join("checkpoint.old"));
        fs::rename(&whole, &old).unwrap();
        put_back(dir.path()).unwrap();
        let next = run(dir.path(), &mut on_tick);
        assert_eq!(next.iteration(), 3);
        assert_eq!(next.model.weight.val().into_data(), weight);
        assert!(whole.is_dir() && !old.exists());
    }
}
