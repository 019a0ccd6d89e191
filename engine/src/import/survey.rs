//! What the files of a folder hold, told from their content.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::extras::{self, Extra};
use super::part::{Part, Wanted, never_needed};
use super::{FileReport, ImportError, Left, Progress, Report, Stage, Watch, go_on};
use crate::checkpoint::{Checkpoint, CheckpointError, Refusal, StateDict};
use crate::pack::{Manifest, RecordedCodes};
use crate::weights::HostTensor;

/// A folder of weights has a dozen.
const MAX_FILES: usize = 1000;
/// Folders in folders that are looked into.
const MAX_DEPTH: usize = 4;
/// What files of weights are called. Such a file is never passed over in silence.
const ENDINGS: [&str; 7] = ["pt", "pth", "pkl", "pickle", "safetensors", "ckpt", "bin"];

/// All files of a folder.
pub struct Survey {
    pub folder: PathBuf,
    networks: Vec<NetworkFile>,
    pub negative: Option<Negative>,
    pub codes: Option<RecordedCodes>,
    skipped: Vec<Left>,
}

/// A file with networks in it.
pub struct NetworkFile {
    pub state: StateDict,
    parts: Vec<Part>,
}

/// The context that guidance leads away from.
pub struct Negative {
    pub file: String,
    /// `[1, tokens, channels]`
    pub tensor: HostTensor,
}

impl Survey {
    /// Opens every file of a folder.
    pub fn of(
        folder: &Path,
        manifest: &Manifest,
        wanted: &[Wanted],
        watch: &mut Watch<'_>,
    ) -> Result<Self, ImportError> {
        let mut survey = Self {
            folder: folder.to_owned(),
            networks: Vec::new(),
            negative: None,
            codes: None,
            skipped: Vec::new(),
        };
        let mut paths = Vec::new();
        collect(folder, 0, &mut paths)?;
        if paths.len() > MAX_FILES {
            let folder = folder.to_owned();
            return Err(ImportError::TooManyFiles { folder, limit: MAX_FILES });
        }
        paths.sort();
        let total = paths.len() as u64;
        for (done, path) in (0..).zip(paths) {
            go_on(watch(Progress { stage: Stage::Reading, done, total }))?;
            survey.add(&path, manifest, wanted)?;
        }
        Ok(survey)
    }

    fn add(
        &mut self,
        path: &Path,
        manifest: &Manifest,
        wanted: &[Wanted],
    ) -> Result<(), ImportError> {
        let Some(file) = Checkpoint::open(path)? else {
            let is_named_so =
                path.extension().is_some_and(|e| ENDINGS.iter().any(|ending| e == *ending));
            if is_named_so {
                return Err(ImportError::NoFormat { file: path.display().to_string() });
            }
            self.skip(path, "no file of weights");
            return Ok(());
        };
        let name = file.name.clone();
        match extras::of(&file, manifest)? {
            Some(Extra::Negative(tensor)) => {
                if let Some(before) = &self.negative {
                    return Err(both("negative context", &before.file, name));
                }
                self.negative = Some(Negative { file: name, tensor });
                return Ok(());
            }
            Some(Extra::Codes(rollouts)) => {
                if let Some(before) = &self.codes {
                    return Err(both("predicted codes", &before.source, name));
                }
                self.codes = Some(RecordedCodes { source: self.relative(&name), rollouts });
                return Ok(());
            }
            Some(Extra::Numbers(reason)) => {
                self.skip(path, &format!("its whole numbers are no codes of the pack: {reason}"));
                return Ok(());
            }
            None => {}
        }
        let state = match StateDict::of(file) {
            Ok(state) => state,
            Err(CheckpointError::Refused { refusal: Refusal::NoTensors, .. }) => {
                self.skip(path, "it holds neither named tensors nor codes");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let parts: Vec<Part> =
            wanted.iter().filter(|wanted| wanted.is_in(&state)).map(|wanted| wanted.part).collect();
        if parts.is_empty() && manifest.planner.is_none() && is_policy(&state) {
            self.skip(
                path,
                "it holds a policy and the sizes of the pack have none; a manifest.json that has \
                 one, in the folder or given with --sizes, takes it",
            );
        } else if parts.is_empty() {
            let first = state.tensors.keys().next().expect("a state dict has tensors");
            self.skip(
                path,
                &format!("its tensors are those of no network of the pack, as {first}"),
            );
        } else {
            self.networks.push(NetworkFile { state, parts });
        }
        Ok(())
    }

    fn skip(&mut self, path: &Path, reason: &str) {
        let name = self.relative(&path.display().to_string());
        self.skipped.push(Left::new(&name, reason));
    }

    /// The files that hold a network, if any does.
    ///
    /// # Errors
    /// When several files hold the same tensor of it.
    pub fn holders(&self, wanted: &Wanted) -> Result<Option<Holders<'_>>, ImportError> {
        let part = wanted.part;
        let files: Vec<&NetworkFile> =
            self.networks.iter().filter(|file| file.parts.contains(&part)).collect();
        for key in wanted.shapes.keys() {
            let mut holding = files.iter().filter(|file| part.stored(&file.state, key).is_some());
            if let (Some(first), Some(second)) = (holding.next(), holding.next()) {
                return Err(both(part.label(), first.name(), second.name().to_owned()));
            }
        }
        Ok(Some(Holders(files)).filter(|holders| !holders.0.is_empty()))
    }

    /// What was looked at, for people who look for what is missing.
    pub fn looked(&self) -> String {
        let networks = self.networks.iter().map(|file| {
            let labels: Vec<&str> = file.parts.iter().map(|part| part.label()).collect();
            format!("{} holds the {}", self.relative(file.name()), labels.join(" and the "))
        });
        let skipped =
            self.skipped.iter().map(|left| format!("{} does not, {}", left.name, left.reason));
        let told: Vec<String> = networks.chain(skipped).take(3).collect();
        if told.is_empty() { "it holds no files at all".to_owned() } else { told.join("; ") }
    }

    /// What becomes of every file and every key.
    pub fn report(&self, wanted: &[Wanted]) -> Report {
        let mut report = Report::default();
        for file in &self.networks {
            report.files.push(file.report(self.relative(file.name()), wanted));
        }
        let extras = [
            (
                self.negative.as_ref().map(|negative| self.relative(&negative.file)),
                "negative context",
            ),
            (self.codes.as_ref().map(|codes| codes.source.clone()), "predicted codes"),
        ];
        for (file, holds) in extras {
            if let Some(file) = file {
                report.files.push(FileReport { file, holds: vec![holds], ..FileReport::default() });
            }
        }
        report.skipped = self.skipped.clone();
        report
    }

    /// A file's path inside the folder.
    fn relative(&self, name: &str) -> String {
        let inside = Path::new(name).strip_prefix(&self.folder);
        inside.map_or_else(|_| name.to_owned(), |path| path.display().to_string())
    }
}

/// The files that hold a network: one, or several among which its tensors are shared out, as large
/// models are published (`model-00001-of-00002.safetensors`).
#[derive(Clone)]
pub struct Holders<'a>(Vec<&'a NetworkFile>);

impl Holders<'_> {
    /// For errors.
    pub fn name(&self) -> String {
        let names: Vec<&str> = self.0.iter().map(|file| file.name()).collect();
        names.join(" and ")
    }

    /// The file that holds the tensor `key`, and its name and shape there.
    pub fn find(&self, part: Part, key: &str) -> Option<(&NetworkFile, &str, &[usize])> {
        self.0.iter().find_map(|file| {
            let (stored, tensor) =
                file.state.tensors.get_key_value(part.stored(&file.state, key)?)?;
            Some((*file, stored.as_str(), tensor.shape.as_slice()))
        })
    }

    /// The numbers of a tensor that is known to be there, in parts.
    pub fn read(
        &self,
        part: Part,
        key: &str,
        take: &mut dyn FnMut(&[f32]) -> Result<(), ImportError>,
    ) -> Result<(), ImportError> {
        let (file, stored, _) = self.find(part, key).expect("checked before anything is written");
        file.read(stored, take)
    }
}

impl NetworkFile {
    pub fn name(&self) -> &str {
        &self.state.file.name
    }

    /// The numbers of the tensor `stored`, in parts.
    fn read(
        &self,
        stored: &str,
        take: &mut dyn FnMut(&[f32]) -> Result<(), ImportError>,
    ) -> Result<(), ImportError> {
        self.state.file.read_parts(&self.state.tensors[stored], |values| {
            if values.iter().all(|value| value.is_finite()) {
                return take(values);
            }
            let (key, file) = (stored.to_owned(), self.name().to_owned());
            Err(ImportError::NotFinite { key, file })
        })
    }

    fn report(&self, file: String, wanted: &[Wanted]) -> FileReport {
        let held: Vec<&Wanted> = wanted.iter().filter(|w| self.parts.contains(&w.part)).collect();
        let used: BTreeSet<&str> = held
            .iter()
            .flat_map(|w| w.shapes.keys().filter_map(|key| w.part.stored(&self.state, key)))
            .collect();
        let mut report = FileReport {
            file,
            holds: self.parts.iter().map(|part| part.label()).collect(),
            used: used.iter().map(|key| (*key).to_owned()).collect(),
            ..FileReport::default()
        };
        for key in self.state.tensors.keys().filter(|key| !used.contains(key.as_str())) {
            let tables = held.iter().map(|w| w.part.keys()).filter(|t| key.starts_with(t.prefix));
            let reason = tables.flat_map(|table| table.ignores(key)).next();
            match reason.or_else(|| never_needed(key)) {
                Some(reason) => report.ignored.push(Left::new(key, reason)),
                None => report.unknown.push(key.clone()),
            }
        }
        for (key, kind) in &self.state.others {
            report.ignored.push(Left::new(key, &format!("{kind}, no tensor")));
        }
        report
    }
}

/// Whether a file holds a policy in the layout of Cosmos, of whatever sizes.
fn is_policy(state: &StateDict) -> bool {
    state.tensors.keys().any(|key| key.ends_with("tok_embeddings.weight"))
}

fn both(part: &'static str, first: &str, second: String) -> ImportError {
    ImportError::Both { part, first: first.to_owned(), second }
}

/// The files of a folder and of the folders in it, hidden ones left out. Links are followed, as
/// download caches are full of them.
fn collect(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), ImportError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ImportError::Folder { path, source }
    };
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let entry = entry.map_err(failed(folder))?;
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let facts = fs::metadata(&path).map_err(failed(&path))?;
        if facts.is_file() {
            found.push(path);
        } else if facts.is_dir() && depth < MAX_DEPTH && found.len() <= MAX_FILES {
            collect(&path, depth + 1, found)?;
        }
    }
    Ok(())
}
