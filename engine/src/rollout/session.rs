//! The session file: a rollout as versioned JSON with its starting frame inside, so that one file
//! brings everything back. Decoded frames are not part of it: they follow from the codes.

use std::path::Path as FilePath;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{ClipChoice, CodePrediction, NewClip, NodeId, Origin, Rollout, Sampling};
use crate::craft::Task;
use crate::media::{self, MediaError};

/// What this program writes; it reads this and everything older.
const FORMAT: u32 = 1;

/// A rollout and the circumstances it was made under.
#[derive(Debug, Clone)]
pub struct Session {
    /// Name of the pack whose codes these are.
    pub pack: String,
    /// [`PackId`](crate::pack::PackId) in hexadecimal digits.
    pub pack_id: String,
    pub sampling: Sampling,
    pub rollout: Rollout,
    pub unfinished: Unfinished,
}

/// Work on a rollout that was asked for and not done when it was written down.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Unfinished {
    /// Clips that waited to be refined, in their order.
    pub refine: Vec<NodeId>,
    /// Clips whose refining was cancelled: it is not begun again unasked.
    pub cancelled: Vec<NodeId>,
    /// Whether clips were being predicted up to the end of the task.
    pub to_the_end: bool,
}

impl Unfinished {
    /// Whether there is anything to go on with.
    pub fn is_empty(&self) -> bool {
        self.refine.is_empty() && !self.to_the_end
    }

    fn is_of(&self, rollout: &Rollout) -> bool {
        let there = |node: &NodeId| (node.0 as usize) < rollout.nodes().len();
        self.refine.iter().chain(&self.cancelled).all(there)
    }
}

/// Why a session could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("{path} could not be read: {source}")]
    Read { path: String, source: std::io::Error },
    #[error("{0} is no session of this program: {1}")]
    Foreign(String, String),
    #[error(
        "{path} was written by a newer version (format {found}, this one reads up to {FORMAT}): update the program"
    )]
    Newer { path: String, found: u32 },
    #[error(transparent)]
    Media(#[from] MediaError),
}

#[derive(Serialize, Deserialize)]
struct SessionFile {
    format: u32,
    pack: String,
    pack_id: String,
    task: Task,
    source: String,
    sampling: Sampling,
    current: NodeId,
    /// Without the root, parents before children; node `i` of the tree is entry `i - 1`.
    clips: Vec<ClipEntry>,
    #[serde(default)]
    unfinished: Unfinished,
    /// PNG, base64.
    start_frame: String,
}

#[derive(Serialize, Deserialize)]
struct ClipEntry {
    parent: NodeId,
    origin: Origin,
    #[serde(flatten)]
    choice: ClipChoice,
    predictions: Vec<CodePrediction>,
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

impl Session {
    /// The session as JSON.
    ///
    /// # Errors
    /// Fails when the starting frame cannot be encoded.
    pub fn to_json(&self) -> Result<String, MediaError> {
        let rollout = &self.rollout;
        let clips = rollout.nodes().iter().filter_map(|node| {
            Some(ClipEntry {
                parent: node.parent?,
                origin: node.origin.clone(),
                choice: node.choice.clone(),
                predictions: node.predictions.clone(),
            })
        });
        let file = SessionFile {
            format: FORMAT,
            pack: self.pack.clone(),
            pack_id: self.pack_id.clone(),
            task: rollout.task,
            source: rollout.source.clone(),
            sampling: self.sampling.clone(),
            current: rollout.current(),
            clips: clips.collect(),
            unfinished: self.unfinished.clone(),
            start_frame: STANDARD.encode(media::png_bytes(&rollout.start)?),
        };
        Ok(serde_json::to_string_pretty(&file).expect("plain data is always JSON"))
    }

    /// Reads a session from JSON; `name` is for errors.
    ///
    /// # Errors
    /// Fails on text that is no session, and on one of a newer format.
    pub fn from_json(text: &str, name: &str) -> Result<Self, SessionError> {
        let foreign = |reason: String| SessionError::Foreign(name.to_owned(), reason);
        let format: FormatOnly = serde_json::from_str(text).map_err(|e| foreign(e.to_string()))?;
        if format.format > FORMAT {
            return Err(SessionError::Newer { path: name.to_owned(), found: format.format });
        }
        let file: SessionFile = serde_json::from_str(text).map_err(|e| foreign(e.to_string()))?;
        let png = STANDARD
            .decode(&file.start_frame)
            .map_err(|_| foreign("its starting frame is damaged".to_owned()))?;
        let start = media::image_from_bytes(&png, "the starting frame inside")?;
        let mut clips = Vec::with_capacity(file.clips.len());
        for clip in file.clips {
            if !clip.predictions.iter().map(|p| p.code).eq(clip.choice.codes.iter().copied()) {
                return Err(foreign("its codes and predictions disagree".to_owned()));
            }
            let ClipEntry { parent, origin, choice, predictions } = clip;
            clips.push((parent, NewClip { origin, predictions, seed: choice.seed }));
        }
        let rollout =
            Rollout::rebuild(Arc::new(start), file.source, file.task, clips, file.current)
                .ok_or_else(|| foreign("its clips do not form a tree".to_owned()))?;
        if !file.unfinished.is_of(&rollout) {
            return Err(foreign("its unfinished work names clips that it has not".to_owned()));
        }
        Ok(Self {
            pack: file.pack,
            pack_id: file.pack_id,
            sampling: file.sampling,
            rollout,
            unfinished: file.unfinished,
        })
    }

    /// Writes the session file whole or not at all.
    ///
    /// # Errors
    /// Fails when the file cannot be written.
    pub fn save(&self, path: &FilePath) -> Result<(), SessionError> {
        Ok(media::write_atomic(path, self.to_json()?.as_bytes())?)
    }

    /// Reads a session file.
    ///
    /// # Errors
    /// Fails when the file cannot be read or is no session.
    pub fn load(path: &FilePath) -> Result<Self, SessionError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| SessionError::Read { path: name.clone(), source })?;
        Self::from_json(&text, &name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Frame;
    use crate::pack::Scale;

    fn session() -> Session {
        let start = Frame::from_fn(6, 4, |x, y| image::Rgb([x as u8 * 40, y as u8 * 60, 7]));
        let mut rollout = Rollout::new(Arc::new(start), "test frame", Task::Tower);
        let prediction = |code| CodePrediction {
            code,
            probability: 0.25,
            entropy_bits: 3.5,
            alternatives: vec![(code, 0.25), (9, 0.1)],
        };
        let clip = |origin, predictions, seed| NewClip { origin, predictions, seed };
        let predicted = vec![prediction(4), prediction(5)];
        let first = rollout.grow(Rollout::ROOT, clip(Origin::Policy, predicted, 11));
        let recorded = vec![CodePrediction::recorded(1), CodePrediction::recorded(2)];
        rollout.grow(first, clip(Origin::Recorded { source: "clip.gif".into() }, recorded, 0));
        let chosen = Origin::Chosen { position: 1, code: 6 };
        rollout.grow(Rollout::ROOT, clip(chosen, vec![prediction(4), prediction(6)], 11));
        rollout.go_to(first);
        Session {
            pack: "test pack".into(),
            pack_id: "00ff".into(),
            sampling: Sampling {
                temperature: 0.8,
                seed: 11,
                refine_steps: 12,
                guidance: 1.5,
                scale: Scale::default(),
            },
            rollout,
            unfinished: Unfinished {
                refine: vec![NodeId(1), NodeId(2)],
                cancelled: vec![NodeId(3)],
                to_the_end: true,
            },
        }
    }

    #[test]
    fn a_session_comes_back_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("session.json");
        let saved = session();
        saved.save(&path).unwrap();
        let loaded = Session::load(&path).unwrap();
        assert_eq!(loaded.sampling, saved.sampling);
        assert_eq!(loaded.unfinished, saved.unfinished);
        assert_eq!(loaded.rollout.start, saved.rollout.start);
        assert_eq!(loaded.rollout.current(), saved.rollout.current());
        assert_eq!(loaded.rollout.task, Task::Tower);
        let nodes = |s: &Session| {
            s.rollout
                .nodes()
                .iter()
                .map(|n| (n.parent, n.children.clone(), n.origin.clone(), n.choice.clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(nodes(&loaded), nodes(&saved));
        let predictions = &loaded.rollout.nodes()[1].predictions;
        assert_eq!(predictions, &saved.rollout.nodes()[1].predictions);
        assert!(loaded.rollout.nodes()[2].predictions[0].probability.is_nan());
    }

    #[test]
    fn what_is_no_session_is_refused_with_the_reason() {
        let text = session().to_json().unwrap();
        let refused = |text: &str| Session::from_json(text, "x.json").unwrap_err().to_string();
        assert!(refused("{}").contains("x.json is no session"));
        assert!(refused(&text[..text.len() / 2]).contains("is no session"));
        assert!(refused(&text.replace("\"format\": 1", "\"format\": 2")).contains("newer version"));
        assert!(refused(&text.replace("\"parent\": 1", "\"parent\": 8")).contains("form a tree"));
        assert!(refused(&text.replace("\"current\": 1", "\"current\": 9")).contains("form a tree"));
        assert!(
            refused(&text.replace("\"start_frame\": \"", "\"start_frame\": \"!"))
                .contains("damaged")
        );
        let mut file: serde_json::Value = serde_json::from_str(&text).unwrap();
        file["unfinished"]["refine"] = serde_json::json!([7]);
        assert!(refused(&file.to_string()).contains("clips that it has not"));
        file.as_object_mut().unwrap().remove("unfinished");
        let older = Session::from_json(&file.to_string(), "x.json").unwrap();
        assert!(older.unfinished.is_empty(), "files of before say nothing of it");
    }
}
