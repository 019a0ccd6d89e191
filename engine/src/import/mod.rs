//! The official weights made into a pack.
//!
//! A folder of files as they were published goes in, a pack comes out. What a file is follows from
//! the tensors in it, never from its name; every tensor is accounted for in a [`Report`], and
//! nothing is written unless all networks are whole. Tensors pass through one at a time, in half
//! precision where their numbers fit and in single precision where they do not. The pack appears
//! under its name in one moment: an import that was stopped leaves a folder beside it, which the
//! next one clears away.

mod error;
mod extras;
mod fetch;
mod half_file;
mod part;
mod report;
mod survey;
mod synthetic;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use burn::tensor::Device;

use self::half_file::{Fit, HalfFile};
use self::part::{Part, Wanted};
use self::survey::{Holders, Survey};
use crate::media::write_atomic;
use crate::memory::human;
use crate::pack::{CODES, MANIFEST, Manifest, NEGATIVE, NEGATIVE_KEY, Pack, PackError};
use crate::vdm::{CONTROL_KEYS, control_begins_as};
use crate::weights::{HostTensor, Weights};

pub use self::error::ImportError;
pub use self::fetch::{ESTIMATE, FetchError, Hub, Listing, PUBLISHED};
pub use self::report::{FileReport, Left, Report};
pub use self::synthetic::{Format, synthetic};

/// The report's name in the pack's folder. It is no part of the pack and not covered by its hashes.
pub const REPORT: &str = "import.json";

/// What a fetch or an import is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Asking the hub what it has.
    Asking,
    /// Fetching this file.
    Fetching(&'static str),
    /// Hashing what is there already of this file.
    Checking(&'static str),
    /// Finding out what the files hold.
    Reading,
    /// Writing this file of the pack.
    Writing(&'static str),
    /// Reading this file once more for its hash.
    Hashing(&'static str),
}

impl Stage {
    /// Whether files are still on their way here.
    pub fn is_fetch(self) -> bool {
        matches!(self, Self::Asking | Self::Fetching(_) | Self::Checking(_))
    }
}

/// In words a person reads.
impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asking => f.write_str("Asking for sizes and checksums"),
            Self::Fetching(file) => write!(f, "Fetching {file}"),
            Self::Checking(file) => write!(f, "Checking {file}"),
            Self::Reading => f.write_str("Reading the files"),
            Self::Writing(file) => write!(f, "Writing {file}"),
            Self::Hashing(file) => write!(f, "Hashing {file}"),
        }
    }
}

/// How far a fetch or an import is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    pub stage: Stage,
    /// Repositories asked, bytes fetched, files read, numbers written or bytes hashed of this
    /// stage, and how many there are.
    pub done: u64,
    pub total: u64,
}

impl Progress {
    /// How far it is, for people and always as wide: bytes where they come or are hashed, otherwise
    /// the share.
    pub fn figures(&self) -> String {
        match self.stage {
            Stage::Fetching(_) | Stage::Checking(_) | Stage::Hashing(_) => {
                format!("{:>8} of {}", human(self.done), human(self.total))
            }
            Stage::Asking | Stage::Reading | Stage::Writing(_) => {
                format!("{:>3} %", 100 * self.done / self.total.max(1))
            }
        }
    }
}

/// Hears how far a fetch or an import is, and says whether it goes on.
pub type Watch<'a> = dyn FnMut(Progress) -> ControlFlow<()> + 'a;

/// What the networks in a folder are to be: what the `manifest.json` in it says, if there is one,
/// and otherwise what the release is.
///
/// # Errors
/// Fails when there is a manifest that cannot be read.
pub fn sizes(from: &Path) -> Result<Manifest, PackError> {
    let path = from.join(MANIFEST);
    if path.is_file() { Manifest::open(&path) } else { Ok(Manifest::videoworld2()) }
}

/// Makes a pack in the folder `to` of the files in `from` and the folders in it. `manifest` says
/// what the pack will be, and with it the sizes of the networks: [`Manifest::videoworld2`] or that
/// of another pack. What is not found is left out of it: the policy, the video diffusion model and
/// guidance; a control branch is begun as the release begins one. When `watch` stops it, nothing is
/// left behind.
///
/// # Errors
/// Fails before anything is written when a file is damaged or would have to be executed, and when a
/// network that was found, or the dLDM, is not whole; [`ImportError::Cancelled`] when stopped.
pub fn import(
    from: &Path,
    to: &Path,
    manifest: Manifest,
    watch: &mut Watch<'_>,
) -> Result<Report, ImportError> {
    let mut manifest = Manifest { files: Default::default(), ..manifest };
    manifest.check()?;
    refuse_taken(to)?;
    let wanted = Wanted::of(&manifest);
    let survey = Survey::of(from, &manifest, &wanted, watch)?;
    let plan = Plan::new(&survey, &mut manifest, &wanted)?;

    let beside = beside(to)?;
    let failed = |source| ImportError::Write { path: beside.clone(), source };
    if beside.exists() {
        fs::remove_dir_all(&beside).map_err(failed)?;
    }
    fs::create_dir_all(&beside).map_err(failed)?;
    let written = plan.write(&beside, manifest, watch).and_then(|report| {
        if to.exists() {
            fs::remove_dir(to).map_err(failed)?;
        }
        fs::rename(&beside, to).map_err(failed)?;
        Ok(report)
    });
    if written.is_err() {
        // The leftover is not worth an error of its own.
        fs::remove_dir_all(&beside).ok();
    }
    written
}

/// Only an empty folder may be where a pack is to be.
///
/// # Errors
/// [`ImportError::Taken`].
pub fn refuse_taken(to: &Path) -> Result<(), ImportError> {
    let is_free = match fs::read_dir(to) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    if is_free { Ok(()) } else { Err(ImportError::Taken(to.to_owned())) }
}

/// The folder that the pack grows in. What a program that was killed left there the next import to
/// the same place clears away.
///
/// # Errors
/// [`ImportError::Taken`] where a folder has no name.
pub fn beside(to: &Path) -> Result<PathBuf, ImportError> {
    let name = to.file_name().ok_or_else(|| ImportError::Taken(to.to_owned()))?;
    let mut beside = OsString::from(".");
    beside.push(name);
    beside.push(".importing");
    Ok(to.with_file_name(beside))
}

/// What goes into the pack, all of it known to fit.
struct Plan<'a> {
    networks: Vec<(&'a Wanted, Origin<'a>)>,
    survey: &'a Survey,
    report: Report,
}

/// Where a network's tensors come from.
enum Origin<'a> {
    Files(Holders<'a>),
    /// A control branch that begins as a copy of the transformer in these files.
    Begun(Holders<'a>, Weights),
}

impl<'a> Plan<'a> {
    /// Finds the files of each network and checks it; takes out of the manifest what there is not.
    fn new(
        survey: &'a Survey,
        manifest: &mut Manifest,
        wanted: &'a [Wanted],
    ) -> Result<Self, ImportError> {
        let mut networks = Vec::new();
        for wanted in wanted {
            if let Some(files) = survey.holders(wanted)? {
                wanted.check(&files)?;
                networks.push((wanted, Origin::Files(files)));
            }
        }
        let [dldm, vae, dit, control, policy] =
            [Part::Dldm, Part::Vae, Part::Dit, Part::Control, Part::Policy].map(|part| {
                networks.iter().find_map(|(wanted, origin)| match origin {
                    Origin::Files(files) if wanted.part == part => Some(files.clone()),
                    _ => None,
                })
            });
        if dldm.is_none() {
            let (folder, looked) = (survey.folder.clone(), survey.looked());
            return Err(ImportError::NoDldm { folder, looked });
        }
        let mut report = survey.report(wanted);
        match (vae, dit) {
            (Some(_), Some(dit)) => {
                if control.is_none() {
                    let control = wanted.iter().find(|wanted| wanted.part == Part::Control);
                    let control = control.expect("a manifest with a transformer has a branch");
                    let fresh = begun(manifest, control, &dit);
                    networks.push((control, Origin::Begun(dit, fresh)));
                    report.control_begun = true;
                }
            }
            (Some(files), None) => return Err(ImportError::half(Part::Vae, Part::Dit, &files)),
            (None, Some(files)) => return Err(ImportError::half(Part::Dit, Part::Vae, &files)),
            (None, None) => match control {
                Some(files) => {
                    return Err(ImportError::half(Part::Control, Part::Dit, &files));
                }
                None => manifest.vdm = None,
            },
        }
        if policy.is_none() {
            manifest.planner = None;
        }
        if survey.negative.is_none() && manifest.sampler.guidance != 0.0 {
            manifest.sampler.guidance = 0.0;
            report.without_guidance = true;
        }
        report.without_vdm = manifest.vdm.is_none();
        report.without_policy = manifest.planner.is_none();
        Ok(Self { networks, survey, report })
    }

    /// Writes everything into a folder, the manifest last.
    fn write(
        self,
        folder: &Path,
        manifest: Manifest,
        watch: &mut Watch<'_>,
    ) -> Result<Report, ImportError> {
        let Self { networks, survey, mut report } = self;
        let mut files = Vec::new();
        for (wanted, origin) in &networks {
            let file = wanted.part.file();
            let stage = Stage::Writing(file);
            let total = wanted.shapes.values().map(|shape| numbers(shape)).sum();
            let mut done = 0;
            go_on(watch(Progress { stage, done, total }))?;
            write_half(&folder.join(file), &wanted.shapes, &mut report, |key, take| {
                origin.read(wanted.part, key, take)?;
                done += numbers(&wanted.shapes[key]);
                go_on(watch(Progress { stage, done: done.min(total), total }))
            })?;
            files.push(file);
        }
        if let Some(negative) = &survey.negative {
            let HostTensor { shape, values } = &negative.tensor;
            let shapes = [(NEGATIVE_KEY.to_owned(), shape.clone())].into();
            write_half(&folder.join(NEGATIVE), &shapes, &mut report, |_, take| take(values))?;
            files.push(NEGATIVE);
        }
        if let Some(codes) = &survey.codes {
            let json = serde_json::to_vec_pretty(codes).expect("names and numbers are JSON");
            write_atomic(&folder.join(CODES), &json).map_err(PackError::from)?;
            files.push(CODES);
        }
        let json = serde_json::to_vec_pretty(&report).expect("names and numbers are JSON");
        write_atomic(&folder.join(REPORT), &json).map_err(PackError::from)?;
        let sealed = Pack::seal(folder, manifest, &files, &mut |file, done, total| {
            watch(Progress { stage: Stage::Hashing(file), done, total })
        })?;
        if sealed { Ok(report) } else { Err(ImportError::Cancelled) }
    }
}

fn numbers(shape: &[usize]) -> u64 {
    shape.iter().product::<usize>() as u64
}

fn go_on(flow: ControlFlow<()>) -> Result<(), ImportError> {
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(ImportError::Cancelled),
    }
}

impl Origin<'_> {
    fn read(
        &self,
        part: Part,
        key: &str,
        take: &mut dyn FnMut(&[f32]) -> Result<(), ImportError>,
    ) -> Result<(), ImportError> {
        match self {
            Self::Files(files) => files.read(part, key, take),
            Self::Begun(dit, fresh) => match fresh.get(key) {
                Some(tensor) => take(&tensor.values),
                None => {
                    let twin = control_begins_as(key).expect("all others are fresh");
                    dit.read(Part::Dit, &twin, take)
                }
            },
        }
    }
}

/// What a begun control branch does not copy from the transformer.
fn begun(manifest: &Manifest, control: &Wanted, dit: &Holders<'_>) -> Weights {
    let config = &manifest.vdm.as_ref().expect("there is a control branch to begin").control;
    let device = Device::flex();
    // The same files make the same pack.
    device.seed(0);
    let is_copied = |key: &str| {
        let twin = control_begins_as(key);
        let twin = twin.as_deref().and_then(|twin| dit.find(Part::Dit, twin));
        twin.is_some_and(|(_, _, shape)| shape == control.shapes[key])
    };
    Weights::some_of(&config.init(&device), &CONTROL_KEYS, |key| !is_copied(key))
}

/// Writes tensors into one safetensors file. `read` hands the numbers of a tensor on in parts, and
/// does so again when asked again.
fn write_half(
    path: &Path,
    shapes: &BTreeMap<String, Vec<usize>>,
    report: &mut Report,
    mut read: impl FnMut(
        &str,
        &mut dyn FnMut(&[f32]) -> Result<(), ImportError>,
    ) -> Result<(), ImportError>,
) -> Result<(), ImportError> {
    let failed = |source| ImportError::Write { path: path.to_owned(), source };
    let mut file = HalfFile::create(path, shapes).map_err(failed)?;
    // An odd number of halves would leave what follows it at no multiple of four bytes, where some
    // readers want single precision to begin.
    let (even, odd): (Vec<_>, Vec<_>) =
        shapes.iter().partition(|(_, shape)| shape.iter().product::<usize>().is_multiple_of(2));
    for (key, shape) in even.into_iter().chain(odd) {
        let Fit { wide, flushed } = file.tensor(key, shape, path, &mut |take| read(key, take))?;
        if wide {
            report.wide.push(key.clone());
        }
        if flushed > 0 {
            report.flushed.insert(key.clone(), flushed);
        }
    }
    file.finish().map_err(failed)
}
