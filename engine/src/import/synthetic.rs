//! Files in the layout of the release with random numbers in them, to try an import with.
//!
//! Numbers are drawn as fresh layers would be, so that what is computed from them stays finite.
//! Tensors are written in parts: files of any size need no memory.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use half::bf16;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use safetensors::Dtype;

use super::ImportError;
use super::half_file::HalfFile;
use super::part::{Part, Wanted};
use crate::checkpoint::CHUNK;
use crate::checkpoint::write::TorchWriter;
use crate::pack::{Manifest, NEGATIVE_KEY};

/// How the files are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As `torch.save` writes them, in bfloat16.
    Torch,
    Safetensors,
}

/// One file: its name without ending, and the tensors in it.
struct Content {
    name: &'static str,
    tensors: Vec<(String, Vec<usize>)>,
}

/// Writes all files that an import with `manifest` needs into a new or empty folder, and says where
/// they are. `on_file` hears each file's name before it is written.
///
/// # Errors
/// Fails when the folder holds something or a file cannot be written.
pub fn synthetic(
    folder: &Path,
    manifest: &Manifest,
    format: Format,
    on_file: &mut dyn FnMut(&str),
) -> Result<Vec<PathBuf>, ImportError> {
    manifest.check()?;
    super::refuse_taken(folder)?;
    let failed = |path: &Path, source| ImportError::Write { path: path.to_owned(), source };
    fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    let mut paths = Vec::new();
    let mut seed = 0;
    for Content { name, tensors } in contents(manifest) {
        let ending = if format == Format::Torch { "pth" } else { "safetensors" };
        let path = folder.join(format!("{name}.{ending}"));
        on_file(name);
        let mut file = match format {
            Format::Torch => {
                Writer::Torch(TorchWriter::create(&path).map_err(|error| failed(&path, error))?)
            }
            Format::Safetensors => {
                let shapes = tensors.iter().cloned().collect();
                let file =
                    HalfFile::create(&path, &shapes).map_err(|error| failed(&path, error))?;
                Writer::Half(file)
            }
        };
        for (key, shape) in &tensors {
            seed += 1;
            file.tensor(&path, key, shape, seed)?;
        }
        file.finish().map_err(|error| failed(&path, error))?;
        paths.push(path);
    }
    Ok(paths)
}

/// The files as they were published; a policy was not.
fn contents(manifest: &Manifest) -> Vec<Content> {
    let wanted = Wanted::of(manifest);
    let of = |name, parts: &[Part]| {
        let networks = wanted.iter().filter(|wanted| parts.contains(&wanted.part));
        let tensors = networks.flat_map(|wanted| wanted.shapes.clone()).collect();
        Content { name, tensors }
    };
    let mut contents = vec![
        of("VideoWorld2_dLDM_VAE", &[Part::Dldm]),
        of("tokenizer", &[Part::Vae]),
        of("VideoWorld2_dLDM_DiT", &[Part::Dit, Part::Control]),
        of("policy", &[Part::Policy]),
    ];
    if let Some(vdm) = &manifest.vdm {
        let shape = vec![1, vdm.dit.context_tokens, vdm.dit.crossattn_emb_channels];
        let tensors = vec![(NEGATIVE_KEY.to_owned(), shape)];
        contents.push(Content { name: "default_neg", tensors });
    }
    contents.retain(|content| !content.tensors.is_empty());
    contents
}

enum Writer {
    Torch(TorchWriter),
    Half(HalfFile),
}

impl Writer {
    fn tensor(
        &mut self,
        path: &Path,
        key: &str,
        shape: &[usize],
        seed: u64,
    ) -> Result<(), ImportError> {
        match self {
            Self::Torch(file) => {
                let numbers = Numbers::of(key, shape, seed);
                let data = Bytes { numbers, bytes: Vec::new(), at: 0 };
                let failed = |source| ImportError::Write { path: path.to_owned(), source };
                file.tensor(key, Dtype::BF16, shape, data).map_err(failed)
            }
            Self::Half(file) => {
                let mut read = |take: &mut dyn FnMut(&[f32]) -> Result<(), ImportError>| {
                    Numbers::of(key, shape, seed).try_for_each(|part| take(&part))
                };
                file.tensor(key, shape, path, &mut read).map(drop)
            }
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Torch(file) => file.finish(),
            Self::Half(file) => file.finish(),
        }
    }
}

/// The numbers of one tensor, in parts.
struct Numbers {
    rng: ChaCha8Rng,
    left: usize,
    centre: f32,
    /// How far from it numbers may lie.
    spread: f32,
}

impl Numbers {
    /// What multiplies channel by channel is one, what is added to them zero, and everything else
    /// uniform with one over the inputs as its variance.
    fn of(key: &str, shape: &[usize], seed: u64) -> Self {
        let inputs: usize = shape.iter().skip(1).product();
        let (centre, spread) = match () {
            () if key.ends_with(".bias") || key.ends_with(".beta") => (0.0, 0.0),
            () if inputs == 1 => (1.0, 0.0),
            () => (0.0, (3.0 / inputs as f32).sqrt()),
        };
        let left = shape.iter().product();
        Self { rng: ChaCha8Rng::seed_from_u64(seed), left, centre, spread }
    }
}

impl Iterator for Numbers {
    type Item = Vec<f32>;

    fn next(&mut self) -> Option<Vec<f32>> {
        let count = self.left.min(CHUNK);
        self.left -= count;
        let (rng, centre, spread) = (&mut self.rng, self.centre, self.spread);
        let mut draw = || centre + spread * (2.0 * rng.random::<f32>() - 1.0);
        (count > 0).then(|| (0..count).map(|_| draw()).collect())
    }
}

/// The same as bytes in bfloat16.
struct Bytes {
    numbers: Numbers,
    bytes: Vec<u8>,
    at: usize,
}

impl Read for Bytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.bytes.len() {
            let Some(part) = self.numbers.next() else { return Ok(0) };
            self.bytes = part.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect();
            self.at = 0;
        }
        let count = buffer.len().min(self.bytes.len() - self.at);
        buffer[..count].copy_from_slice(&self.bytes[self.at..][..count]);
        self.at += count;
        Ok(count)
    }
}
