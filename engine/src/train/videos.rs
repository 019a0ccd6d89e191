//! Videos of the user's own, from which a policy learns.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::TrainError;
use crate::craft::Task;
use crate::media::{Fit, Frame, FrameSize, Video, load_video, split_clips};
use crate::pack::{Manifest, TaskEntry};

/// How frames of another shape are brought to the pack's.
const FIT: Fit = Fit::Crop;

/// A folder of videos, and what was found in it when a run began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskVideos {
    pub folder: PathBuf,
    pub count: usize,
    /// The tasks there are videos of, each with the clips of its longest.
    pub tasks: Vec<TaskEntry>,
    /// A video that says it has other frames a second than the pack.
    pub other_fps: Option<(PathBuf, f32)>,
}

impl TaskVideos {
    /// Reads every video once, so that nothing is trained before all of them are known to be right.
    /// The folder holds one folder a task, named `airplane`, `boat`, `tower`, `horse` or `person`,
    /// and these hold the videos: folders of frames, GIFs or animated PNGs. A video is one rollout,
    /// from the starting frame to the end of the task.
    ///
    /// # Errors
    /// Fails on a folder of another name, on what is no video, on one shorter than a clip, and when
    /// there is none at all.
    pub fn in_folder(folder: &Path, manifest: &Manifest) -> Result<Self, TrainError> {
        let videos = list(folder)?;
        let (mut tasks, mut other_fps) = (Vec::<TaskEntry>::new(), None);
        for (task, path) in &videos {
            let (clips, fps) = survey(path, manifest)?;
            match tasks.iter_mut().find(|entry| entry.task == *task) {
                Some(entry) => entry.clips = entry.clips.max(clips),
                None => tasks.push(TaskEntry { task: *task, clips }),
            }
            let fps = fps.filter(|fps| (fps - manifest.fps).abs() > 0.1 * manifest.fps);
            other_fps = other_fps.or(fps.map(|fps| (path.clone(), fps)));
        }
        Ok(Self { folder: folder.to_owned(), count: videos.len(), tasks, other_fps })
    }

    /// Clips of the longest video.
    pub(super) fn longest(&self) -> usize {
        self.tasks.iter().map(|entry| entry.clips).max().unwrap_or(1)
    }
}

/// Clips of a video, and its frames a second if it says so.
fn survey(path: &Path, manifest: &Manifest) -> Result<(usize, Option<f32>), TrainError> {
    // The size does not matter here, and the coarse one is less work.
    let Video { frames, fps } = load_video(path, manifest.coarse_size, FIT)?;
    Ok((clips_of(path, &frames, manifest.frames_per_clip)?.len(), fps))
}

/// The frames of a video at a size.
pub(super) fn load(path: &Path, size: FrameSize) -> Result<Vec<Frame>, TrainError> {
    Ok(load_video(path, size, FIT)?.frames)
}

/// At least one clip of `len` frames.
pub(super) fn clips_of<'a>(
    path: &Path,
    frames: &'a [Frame],
    len: usize,
) -> Result<Vec<Vec<&'a Frame>>, TrainError> {
    let clips = split_clips(frames, len);
    if clips.is_empty() {
        let path = path.to_owned();
        return Err(TrainError::ShortVideo { path, found: frames.len(), wanted: len });
    }
    Ok(clips)
}

/// Every video in the folder with its task, by name; hidden files are passed over.
pub(super) fn list(folder: &Path) -> Result<Vec<(Task, PathBuf)>, TrainError> {
    let mut videos = Vec::new();
    for path in entries(folder)? {
        let task = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        let Some(task) = task.filter(|_| path.is_dir()) else {
            return Err(TrainError::NoTask { path, names: names() });
        };
        videos.extend(entries(&path)?.into_iter().map(|video| (task, video)));
    }
    if videos.is_empty() {
        return Err(TrainError::NoVideos { folder: folder.to_owned(), names: names() });
    }
    Ok(videos)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let failed = |error| TrainError::file(folder, error);
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

fn names() -> String {
    Task::ALL.map(Task::name).join(", ")
}
