//! The JSON file of codes that `rollout` and `encode` write, and codes to play instead of the
//! policy's.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use engine::craft::Task;
use engine::media::write_atomic;
use engine::rollout::{CodePrediction, NewClip, Origin, PackSummary};
use serde::{Deserialize, Serialize};

/// Codes that no policy of ours predicted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Where they come from, for people.
    pub source: String,
    /// The codes of each clip, at least one.
    pub clips: Vec<Vec<u16>>,
}

impl Recorded {
    /// Codes that came with the pack under this name, or else those in a file that `rollout` or
    /// `encode` wrote.
    ///
    /// # Errors
    /// Says which names there are when there is no such file either, and what is wrong with a file.
    pub fn open(name: &str, pack: &PackSummary) -> Result<Self> {
        if let Some(own) = Self::of_pack(name, pack) {
            return Ok(own);
        }
        if !Path::new(name).is_file() {
            let names = names(pack);
            if names.is_empty() {
                bail!("there is no file {name}, and no codes came with this pack");
            }
            bail!(
                "there is no file {name}; the codes that came with the pack are {}",
                names.join(", ")
            );
        }
        StoredCodes::read(Path::new(name))?.fit(pack)
    }

    /// Codes that came with the pack under this name.
    pub fn of_pack(name: &str, pack: &PackSummary) -> Option<Self> {
        let own = pack.recorded.as_ref()?;
        let clips = own.rollouts.get(name)?.clone();
        Some(Self { source: format!("{name} in {}", own.source), clips })
    }

    /// The clip after `index` others, with `seed` for its noise; `None` behind the last one.
    pub fn clip(&self, index: usize, seed: u64) -> Option<NewClip> {
        let codes = self.clips.get(index)?;
        let predictions = codes.iter().copied().map(CodePrediction::recorded).collect();
        Some(NewClip {
            origin: Origin::Recorded { source: self.source.clone() },
            predictions,
            seed,
        })
    }
}

/// The names of the codes that came with a pack, in order.
pub fn names(pack: &PackSummary) -> Vec<&str> {
    pack.recorded.iter().flat_map(|own| own.rollouts.keys().map(String::as_str)).collect()
}

/// A file of codes, before it is known whether they are of the pack.
#[derive(Debug, Clone, Deserialize)]
pub struct StoredCodes {
    /// The file.
    #[serde(skip)]
    pub source: String,
    levels: Vec<usize>,
    clips: Vec<StoredClip>,
}

#[derive(Debug, Clone, Deserialize)]
struct StoredClip {
    codes: Vec<u16>,
}

impl StoredCodes {
    /// Reads what is needed of a [`CodesFile`].
    ///
    /// # Errors
    /// When the file cannot be read, is none of codes, or is empty.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.display();
        let text = std::fs::read(path).with_context(|| format!("{name} could not be read"))?;
        let stored: Self = serde_json::from_slice(&text)
            .with_context(|| format!("{name} is no file of codes that rollout or encode wrote"))?;
        if stored.clips.is_empty() {
            bail!("{name} holds no clips");
        }
        Ok(Self { source: name.to_string(), ..stored })
    }

    /// The codes, if they are of this pack.
    ///
    /// # Errors
    /// Says what differs.
    pub fn fit(self, pack: &PackSummary) -> Result<Recorded> {
        let Self { source, levels, clips } = self;
        if levels != pack.levels {
            bail!("the codes in {source} have digits of other levels than this pack's");
        }
        let wanted = pack.codes_per_clip();
        for (clip, StoredClip { codes }) in clips.iter().enumerate() {
            let (clip, found) = (clip + 1, codes.len());
            if found != wanted {
                bail!("clip {clip} in {source} has {found} codes, this pack has {wanted} a clip");
            }
            if let Some(code) = codes.iter().find(|code| usize::from(**code) >= pack.vocabulary()) {
                let vocabulary = pack.vocabulary();
                bail!(
                    "code {code} of clip {clip} in {source} is outside this pack's vocabulary of {vocabulary}"
                );
            }
        }
        Ok(Recorded { source, clips: clips.into_iter().map(|clip| clip.codes).collect() })
    }
}

/// Codes, clip after clip, with what is needed to make sense of them.
#[derive(Debug, Serialize)]
pub struct CodesFile<'a> {
    format: u32,
    pack: &'a str,
    pack_id: String,
    /// Picture or video the codes come from.
    source: String,
    /// Where the codes come from if the policy did not predict them for that picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    codes_from: Option<&'a str>,
    task: Option<Task>,
    seed: Option<u64>,
    fps: f32,
    frames_per_clip: usize,
    steps_per_clip: usize,
    codes_per_step: usize,
    /// Of the digits of a code, first digit fastest.
    levels: &'a [usize],
    clips: Vec<ClipCodes<'a>>,
}

#[derive(Debug, Serialize)]
struct ClipCodes<'a> {
    /// Step after step.
    codes: Vec<u16>,
    /// The policy's view of each code; absent for codes of a video.
    #[serde(skip_serializing_if = "Option::is_none")]
    predictions: Option<&'a [CodePrediction]>,
}

impl<'a> CodesFile<'a> {
    fn new(pack: &'a PackSummary, source: String) -> Self {
        Self {
            format: 1,
            pack: &pack.name,
            pack_id: pack.id.to_string(),
            source,
            codes_from: None,
            task: None,
            seed: None,
            fps: pack.fps,
            frames_per_clip: pack.frames_per_clip,
            steps_per_clip: pack.steps_per_clip,
            codes_per_step: pack.codes_per_step,
            levels: &pack.levels,
            clips: Vec::new(),
        }
    }

    pub fn of_video(pack: &'a PackSummary, source: String, clips: Vec<Vec<u16>>) -> Self {
        let clips = clips.into_iter().map(|codes| ClipCodes { codes, predictions: None }).collect();
        Self { clips, ..Self::new(pack, source) }
    }

    pub fn of_rollout(
        pack: &'a PackSummary,
        source: String,
        task: Task,
        seed: u64,
        clips: impl Iterator<Item = &'a [CodePrediction]>,
    ) -> Self {
        let clips = clips.map(|predictions| ClipCodes {
            codes: predictions.iter().map(|p| p.code).collect(),
            predictions: Some(predictions),
        });
        Self {
            task: Some(task),
            seed: Some(seed),
            clips: clips.collect(),
            ..Self::new(pack, source)
        }
    }

    pub fn of_recorded(
        pack: &'a PackSummary,
        source: String,
        task: Task,
        seed: u64,
        recorded: &'a Recorded,
        clips: usize,
    ) -> Self {
        let clips = recorded.clips[..clips].to_vec();
        Self {
            codes_from: Some(&recorded.source),
            task: Some(task),
            seed: Some(seed),
            ..Self::of_video(pack, source, clips)
        }
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        Ok(write_atomic(path, &serde_json::to_vec_pretty(self)?)?)
    }
}
