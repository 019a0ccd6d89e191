//! Agreement with the reference: runs every golden case of a folder and prints a line for each.
//!
//! A case is `NAME.json` beside `NAME.safetensors`. What to run comes from the JSON's `module`
//! field, never from the name, so a folder of new cases needs no new code:
//! `PARITY_DIR=folder cargo test --release -p studio-tests --test parity`.
//! `PARITY_DEVICE=vulkan` runs the kinds meant for it on the machine's Vulkan adapter instead of the
//! CPU backend, with ten times the tolerance. `PARITY_PRECISION=f16` runs the kinds of
//! [`HALF_TOLERANCES`] with half-precision weights on either of them. Words on the command line
//! pick cases by name.

mod case;
mod chain;
mod dldm;
mod policy;
mod schedule;
mod training;
mod vdm;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use burn::tensor::Device;
use engine::gpu::{self, ComputeChoice, DeviceChoice, PrecisionChoice};
use engine::weights::Precision;

use crate::case::{Case, Checks, Failure, Tolerance};

/// The kinds that also run in half precision, those with a transformer, and the largest error
/// allowed over the largest value of each tensor: about twice what was measured, the larger of CPU
/// backend and software Vulkan (Mesa 22.3.6), which were 3.0e-3, 1.7e-3 and 2.5e-3. One rounding to
/// a half is 5e-4. All other kinds compute in single precision whatever is asked for.
const HALF_TOLERANCES: [(&str, f64); 3] =
    [("MinimalV1LVGDiT", 6e-3), ("CtrlEncoder", 4e-3), ("Video2WorldPipelineWithCtrl", 5e-3)];

/// The kinds that have halves on a card's matrix units alone, as above: 2.0e-3 on software Vulkan of
/// Mesa 26.1.6.
const UNITS_TOLERANCES: [(&str, f64); 1] = [("VAE_", 4e-3)];

/// One sort of case: how it is recognised and how it is run.
pub struct Kind {
    /// The reference class the case's `module` field names first.
    pub class: &'static str,
    /// A further word its `module` field must have; empty for none.
    pub also: &'static str,
    /// Whether it also runs on software Vulkan.
    pub on_vulkan: bool,
    pub run: fn(&Case, &mut Checks) -> Result<(), Failure>,
}

impl Kind {
    fn matches(&self, case: &Case) -> bool {
        case.class() == self.class
            && case.module_words().any(|w| self.also.is_empty() || w == self.also)
    }
}

fn registry() -> Vec<Kind> {
    let mut kinds = dldm::kinds();
    kinds.extend(vdm::kinds());
    kinds.extend(schedule::kinds());
    kinds.extend(policy::kinds());
    kinds.extend(chain::kinds());
    kinds.extend(training::kinds());
    kinds
}

/// The kind of a case: of several that match, the one that asks for the further word.
fn kind_of<'a>(kinds: &'a [Kind], case: &Case) -> Option<&'a Kind> {
    let matching = kinds.iter().filter(|kind| kind.matches(case));
    matching.max_by_key(|kind| kind.also.len())
}

#[derive(Clone, Copy, PartialEq)]
enum Target {
    Cpu,
    Vulkan,
}

impl Target {
    fn from_environment() -> Result<Self, Failure> {
        match std::env::var("PARITY_DEVICE").as_deref() {
            Err(_) | Ok("" | "cpu") => Ok(Self::Cpu),
            Ok("vulkan") => Ok(Self::Vulkan),
            Ok(other) => Err(format!("PARITY_DEVICE is {other:?}, use cpu or vulkan").into()),
        }
    }

    fn device(self, precision: Precision) -> Result<Device, Failure> {
        match self {
            Self::Cpu => Ok(Device::flex()),
            Self::Vulkan => vulkan(precision),
        }
    }

    fn tolerance_factor(self) -> f64 {
        match self {
            Self::Cpu => 1.0,
            Self::Vulkan => 10.0,
        }
    }

    /// How far a kind may be off; `None` where it does not run.
    fn tolerance(self, kind: &Kind, precision: Precision, on_units: bool) -> Option<Tolerance> {
        if self == Self::Vulkan && !kind.on_vulkan {
            return None;
        }
        match precision {
            Precision::F32 => Some(Tolerance::Suggested(self.tolerance_factor())),
            Precision::F16 => {
                let units = if on_units { &UNITS_TOLERANCES[..] } else { &[] };
                let all = units.iter().chain(&HALF_TOLERANCES);
                let (_, share) = all.into_iter().find(|(class, _)| *class == kind.class)?;
                Some(Tolerance::OfLargest(*share))
            }
        }
    }
}

fn precision_from_environment() -> Result<Precision, Failure> {
    match std::env::var("PARITY_PRECISION").as_deref() {
        Err(_) | Ok("" | "f32") => Ok(Precision::F32),
        Ok("f16") => Ok(Precision::F16),
        Ok(other) => Err(format!("PARITY_PRECISION is {other:?}, use f32 or f16").into()),
    }
}

fn vulkan(precision: Precision) -> Result<Device, Failure> {
    let device = DeviceChoice::Vulkan;
    let chosen = gpu::choose(device)
        .map_err(|e| format!("{e}; or install Mesa's lavapipe (mesa-vulkan-drivers)"))?;
    let precision = PrecisionChoice::Exactly(precision);
    let chosen = chosen.computing(ComputeChoice { device, precision, eight_bit: false }, 0)?;
    println!("on {}", chosen.description);
    Ok(chosen.device)
}

/// The `NAME.json` files of a folder, sorted.
fn case_files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let listing = std::fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut files = Vec::new();
    for entry in listing {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "json") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Runs one case; a panic inside counts as its failure, so that the others still run.
fn run_case(kind: &Kind, case: &Case, checks: &mut Checks) -> Result<(), Failure> {
    let outcome = catch_unwind(AssertUnwindSafe(|| (kind.run)(case, checks)));
    match outcome {
        Ok(result) => result?,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            return Err(format!("panicked: {}", text.unwrap_or("no message")).into());
        }
    }
    checks.finish(case)
}

fn run(folder: &Path, words: &[String]) -> Result<bool, Failure> {
    let target = Target::from_environment()?;
    let precision = precision_from_environment()?;
    let device = target.device(precision)?;
    let kinds = registry();
    let (mut passed, mut failed, mut left_out) = (0, 0, 0);
    for file in case_files(folder)? {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if !words.is_empty() && !words.iter().any(|w| name.contains(w.as_str())) {
            continue;
        }
        let started = Instant::now();
        let mut checks = Checks::new(Tolerance::Suggested(1.0));
        let outcome = Case::read(&file, &device, precision).and_then(|case| {
            let Some(kind) = kind_of(&kinds, &case) else {
                return Err(format!("no kind for module {:?}", case.module()).into());
            };
            let on_units = gpu::has_matrix_units(&device);
            let Some(tolerance) = target.tolerance(kind, precision, on_units) else {
                return Ok(false);
            };
            checks = Checks::new(tolerance);
            run_case(kind, &case, &mut checks).map(|()| true)
        });
        let seconds = started.elapsed().as_secs_f64();
        match outcome {
            Ok(false) => left_out += 1,
            Ok(true) => {
                passed += 1;
                println!("ok    {name:<40} {} {seconds:6.2} s", checks.summary());
            }
            Err(failure) => {
                failed += 1;
                println!("FAIL  {name:<40} {} {seconds:6.2} s\n      {failure}", checks.summary());
            }
        }
    }
    match (left_out, precision) {
        (0, _) => {}
        (_, Precision::F16) => println!("{left_out} cases are of kinds that are not in f16"),
        (_, Precision::F32) => println!("{left_out} cases are of kinds for the CPU backend only"),
    }
    println!("{passed} passed, {failed} failed in {}", folder.display());
    if passed + failed == 0 {
        return Err(format!("no case to run in {}", folder.display()).into());
    }
    Ok(failed == 0)
}

fn main() -> ExitCode {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/parity");
    let folder = std::env::var_os("PARITY_DIR").map_or(own, PathBuf::from);
    let words: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    match run(&folder, &words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("parity: {failure}");
            ExitCode::FAILURE
        }
    }
}
