//! What the policy learns from: whole tasks, encoded by the dLDM and kept in the run's folder.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use burn::tensor::{Device, Tensor, TensorData};

use super::{Recipe, RunFolder, Stage, Tick, TrainError, stack, videos};
use crate::checkpoint::{Source, StateDict};
use crate::craft::{Episode, Split, Task};
use crate::dldm::Dldm;
use crate::media::{FrameSize, resize_bilinear, tensor_from_frames, write_atomic};
use crate::weights::{Precision, TensorSource as _, Weights, WeightsError};

/// The most numbers of clips that are encoded at a time. All clips of an episode of the embedded
/// pack have an eighth of it; one clip of the release has more.
const ENCODED_AT_ONCE: usize = 1 << 22;

/// How often a person waiting is told how far the encoding is.
const TICK_EVERY: Duration = Duration::from_secs(5);

const CODES: &str = "codes";
const FEATURES: &str = "features";

/// One task of one environment as the policy sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodedTask {
    /// Place in [`Task::ALL`].
    pub task: usize,
    /// Codes of each clip.
    pub codes: Vec<Vec<u16>>,
    /// dLDM features of the frame before each clip, `[channels, height, width]` flattened.
    pub features: Vec<Vec<f32>>,
}

impl EncodedTask {
    fn new(task: Task) -> Self {
        let place = Task::ALL.iter().position(|t| *t == task);
        let task = place.expect("Task::ALL lists every task");
        Self { task, codes: Vec::new(), features: Vec::new() }
    }

    /// Encodes the next clips, `[clip, 3, time, height, width]`.
    fn push(&mut self, dldm: &Dldm, clips: Tensor<5>) {
        let encoded = dldm.encode(clips);
        let indices = dldm.quantize(encoded.z).indices;
        let [count, per_clip] = indices.dims();
        let indices: Vec<i32> = read(indices.into_data());
        let first = encoded.features.slice_dim(2, 0..1);
        let per_frame = first.shape().num_elements() / count;
        let features: Vec<f32> = read(first.into_data());
        let clip = |codes: &[i32]| codes.iter().map(|code| *code as u16).collect();
        self.codes.extend(indices.chunks(per_clip).map(clip));
        self.features.extend(features.chunks(per_frame).map(<[f32]>::to_vec));
    }

    fn write(&self, file: &Path) -> Result<(), TrainError> {
        let mut weights = Weights::default();
        let codes = self.codes.iter().flatten().map(|code| f32::from(*code)).collect();
        weights.insert(CODES, vec![self.codes.len(), self.codes[0].len()], codes);
        let shape = vec![self.features.len(), self.features[0].len()];
        weights.insert(FEATURES, shape, self.features.concat());
        let bytes = weights.to_safetensors(Precision::F32);
        Ok(write_atomic(file, &bytes.map_err(|e| TrainError::checkpoint(file, e))?)?)
    }

    fn read(file: &Path, task: Task) -> Result<Self, TrainError> {
        let source = Source::open(file).map_err(|e| TrainError::file(file, e))?;
        let rows = |tensors: &StateDict, key: &str| -> Result<Vec<Vec<f32>>, WeightsError> {
            let missing = || WeightsError::Missing(vec![key.to_owned()]);
            let shape = tensors.shape(key).filter(|s| s.len() == 2 && !s.contains(&0));
            let width = shape.ok_or_else(missing)?[1];
            Ok(tensors.values(key)?.chunks(width).map(<[f32]>::to_vec).collect())
        };
        let read = || -> Result<Self, WeightsError> {
            let tensors = StateDict::safetensors(file.display().to_string(), source)?;
            let codes = rows(&tensors, CODES)?;
            let codes = codes.iter().map(|clip| clip.iter().map(|code| *code as u16).collect());
            let (codes, features) = (codes.collect(), rows(&tensors, FEATURES)?);
            Ok(Self { codes, features, ..Self::new(task) })
        };
        read().map_err(|e| TrainError::checkpoint(file, e))
    }
}

fn read<E: burn::tensor::Element>(data: TensorData) -> Vec<E> {
    data.convert::<E>().try_into_vec().expect("converted to this element just before")
}

/// Encodes the true clips of an episode of one of the tasks.
pub fn encode_episode(
    dldm: &Dldm,
    episode: &Episode,
    size: FrameSize,
    device: &Device,
) -> EncodedTask {
    let task = episode.task.expect("only episodes of the tasks are encoded for the policy");
    let mut encoded = EncodedTask::new(task);
    let clips: Vec<_> = (0..episode.num_clips()).map(|k| episode.clip(k, size).frames).collect();
    let clips: Vec<_> = clips.iter().map(Vec::as_slice).collect();
    let numbers = clips[0].len() * 3 * (size.height * size.width) as usize;
    for clips in clips.chunks((ENCODED_AT_ONCE / numbers).max(1)) {
        encoded.push(dldm, stack(clips, device));
    }
    encoded
}

/// A whole task that is yet to be encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lesson {
    /// A craft-world episode of the training split.
    Episode { task: Task, seed: u64 },
    /// A video of the user's own.
    Video { task: Task, path: PathBuf },
}

/// The clips of a pack.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClipShape {
    /// Of refined video; frames of the user's are fitted to it first, as starting frames are.
    pub size: FrameSize,
    /// The dLDM sees this size.
    pub coarse_size: FrameSize,
    pub frames: usize,
}

impl Lesson {
    fn task(&self) -> Task {
        let (Self::Episode { task, .. } | Self::Video { task, .. }) = self;
        *task
    }

    /// Where it is kept below the folder of what is encoded.
    fn file(&self) -> PathBuf {
        let task = self.task().name();
        match self {
            Self::Episode { seed, .. } => format!("craft/{task}/{seed:05}.safetensors").into(),
            Self::Video { path, .. } => {
                let mut name = path.file_name().expect("listed in a folder").to_owned();
                name.push(".safetensors");
                Path::new("videos").join(task).join(name)
            }
        }
    }

    /// What was kept in the folder, if it was.
    pub(super) fn kept(&self, folder: &Path) -> Result<Option<EncodedTask>, TrainError> {
        let file = folder.join(self.file());
        file.exists().then(|| EncodedTask::read(&file, self.task())).transpose()
    }

    pub(super) fn keep(&self, encoded: &EncodedTask, folder: &Path) -> Result<(), TrainError> {
        encoded.write(&folder.join(self.file()))
    }

    /// Draws or reads the clips and encodes them.
    ///
    /// # Errors
    /// Fails on a video that cannot be read or is shorter than a clip.
    pub(super) fn encode(
        &self,
        dldm: &Dldm,
        clips: ClipShape,
        device: &Device,
    ) -> Result<EncodedTask, TrainError> {
        let ClipShape { size, coarse_size, frames } = clips;
        match self {
            Self::Episode { task, seed } => {
                let episode = Episode::sample(*task, Split::Train, *seed).in_clips_of(frames);
                Ok(encode_episode(dldm, &episode, coarse_size, device))
            }
            Self::Video { task, path } => {
                let mut encoded = EncodedTask::new(*task);
                let video = videos::load(path, size)?;
                for clip in videos::clips_of(path, &video, frames)? {
                    let clip = tensor_from_frames(&clip, device);
                    encoded.push(dldm, resize_bilinear(clip, coarse_size));
                }
                Ok(encoded)
            }
        }
    }
}

impl RunFolder {
    /// What the policy learns from. Codes of the pack that the run goes on from are kept in the
    /// run's folder: encoding at the release's size takes far longer than reading them again.
    pub(super) fn encoded_tasks(
        &self,
        device: &Device,
        on_tick: &mut dyn FnMut(&Tick),
    ) -> Result<Vec<EncodedTask>, TrainError> {
        let Recipe { size, coarse_size, policy_episodes, videos, .. } = &self.recipe;
        let lessons: Vec<Lesson> = match videos {
            Some(videos) => {
                let videos = videos::list(&videos.folder)?.into_iter();
                videos.map(|(task, path)| Lesson::Video { task, path }).collect()
            }
            None => {
                let tasks = self.tasks();
                let episode = |seed| {
                    let task = tasks[seed as usize % tasks.len()].task;
                    Lesson::Episode { task, seed }
                };
                (0..*policy_episodes as u64).map(episode).collect()
            }
        };
        let clips =
            ClipShape { size: *size, coarse_size: *coarse_size, frames: self.frames_per_clip() };
        // Codes of a dLDM that this run trains change with it.
        let is_packs = !self.has(Stage::Warmup) && !self.has(Stage::Joint);
        let kept_in = self.start.as_ref().filter(|_| is_packs).map(|pack| {
            let id = pack.id.to_string();
            self.stage(Stage::Policy).join("encoded").join(&id[..16])
        });
        let mut dldm = None;
        let mut encoded = Vec::with_capacity(lessons.len());
        let (began, mut told, mut fresh) = (Instant::now(), Instant::now(), 0);
        for lesson in &lessons {
            if let Some(folder) = &kept_in
                && let Some(task) = lesson.kept(folder)?
            {
                encoded.push(task);
                continue;
            }
            let dldm = match &dldm {
                Some(dldm) => dldm,
                None => &*dldm.insert(self.dldm(device)?),
            };
            let task = lesson.encode(dldm, clips, device)?;
            if let Some(folder) = &kept_in {
                lesson.keep(&task, folder)?;
            }
            encoded.push(task);
            fresh += 1;
            if told.elapsed() >= TICK_EVERY {
                told = Instant::now();
                let per_second = f64::from(fresh) / began.elapsed().as_secs_f64();
                let left = (lessons.len() - encoded.len()) as f64 / per_second;
                on_tick(&Tick {
                    stage: "encoding",
                    iteration: encoded.len(),
                    per_second,
                    left: Duration::from_secs_f64(left),
                    measures: Vec::new(),
                });
            }
        }
        Ok(encoded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let lesson = Lesson::Video { task: Task::Boat, path: "videos/boat/a.gif".into() };
        let encoded = EncodedTask {
            task: 1,
            codes: vec![vec![0, 65_535, 7], vec![4, 5, 6]],
            features: vec![vec![0.1, -1e30], vec![3.25, 0.0]],
        };
        assert_eq!(lesson.kept(dir.path()).unwrap(), None);
        lesson.keep(&encoded, dir.path()).unwrap();
        assert_eq!(lesson.kept(dir.path()).unwrap(), Some(encoded));
        let file = dir.path().join("videos/boat/a.gif.safetensors");
        std::fs::write(&file, b"cut short").unwrap();
        let error = lesson.kept(dir.path()).unwrap_err().to_string();
        assert!(error.contains("a.gif.safetensors") && !error.contains('\n'), "{error}");
    }
}
