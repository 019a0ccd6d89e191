//! The names under which pixels are kept: a hash of everything that decides them, and nothing else.

use sha2::{Digest as _, Sha256};

use super::{ClipKey, Path, Sampling};
use crate::pack::PackId;

impl ClipKey {
    /// Names the coarse pixels of the last clip of `path`. Seeds and sampler settings do not touch
    /// them, so they are not part of the name.
    ///
    /// Hashes the starting frame: keep the key rather than asking for it every frame of a window.
    pub fn coarse(pack: &PackId, path: &Path) -> Self {
        let mut hash = started("coarse", pack, path);
        for clip in &path.clips {
            add_codes(&mut hash, &clip.codes);
        }
        finished(hash)
    }

    /// Names the refined pixels of the last clip of `path` (a preview is kept under the same name).
    pub fn refined(pack: &PackId, path: &Path, sampling: &Sampling) -> Self {
        let mut hash = started("refined", pack, path);
        hash.update((sampling.refine_steps as u64).to_le_bytes());
        hash.update(sampling.guidance.to_le_bytes());
        hash.update(f32::from(sampling.scale).to_le_bytes());
        for clip in &path.clips {
            add_codes(&mut hash, &clip.codes);
            hash.update(clip.seed.to_le_bytes());
        }
        finished(hash)
    }
}

fn started(kind: &str, pack: &PackId, path: &Path) -> Sha256 {
    let mut hash = Sha256::new();
    hash.update(kind.as_bytes());
    hash.update(pack.0);
    hash.update(path.start.width().to_le_bytes());
    hash.update(path.start.height().to_le_bytes());
    hash.update(path.start.as_raw());
    hash
}

fn add_codes(hash: &mut Sha256, codes: &[u16]) {
    hash.update((codes.len() as u64).to_le_bytes());
    for code in codes {
        hash.update(code.to_le_bytes());
    }
}

fn finished(hash: Sha256) -> ClipKey {
    let digest = hash.finalize();
    let mut key = [0; 16];
    key.copy_from_slice(&digest[..16]);
    ClipKey(key)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::craft::Task;
    use crate::media::Frame;
    use crate::pack::Scale;
    use crate::rollout::ClipChoice;

    fn path(clips: &[(&[u16], u64)]) -> Path {
        Path {
            start: Arc::new(Frame::new(4, 2)),
            task: Task::Boat,
            clips: clips
                .iter()
                .map(|(codes, seed)| ClipChoice { codes: codes.to_vec(), seed: *seed })
                .collect(),
        }
    }

    fn sampling(refine_steps: usize) -> Sampling {
        Sampling { temperature: 1.0, seed: 0, refine_steps, guidance: 7.0, scale: Scale::default() }
    }

    #[test]
    fn every_choice_that_decides_pixels_changes_the_key() {
        let pack = PackId([1; 32]);
        let base = path(&[(&[1, 2], 0), (&[3, 4], 0)]);
        let mut keys = vec![
            ClipKey::coarse(&pack, &base),
            ClipKey::coarse(&PackId([2; 32]), &base),
            ClipKey::coarse(&pack, &path(&[(&[1, 2], 0), (&[3, 5], 0)])),
            ClipKey::coarse(&pack, &path(&[(&[1, 9], 0), (&[3, 4], 0)])),
            ClipKey::coarse(&pack, &path(&[(&[1, 2, 3, 4], 0)])),
            ClipKey::refined(&pack, &base, &sampling(8)),
            ClipKey::refined(&pack, &base, &sampling(9)),
            ClipKey::refined(&pack, &base, &Sampling { scale: Scale::SMALLER[0], ..sampling(9) }),
            ClipKey::refined(&pack, &path(&[(&[1, 2], 7), (&[3, 4], 0)]), &sampling(8)),
        ];
        let mut other = base.clone();
        other.start = Arc::new(Frame::from_pixel(4, 2, image::Rgb([1, 0, 0])));
        keys.push(ClipKey::coarse(&pack, &other));
        let count = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }

    #[test]
    fn a_seed_does_not_touch_coarse_pixels() {
        let pack = PackId([1; 32]);
        assert_eq!(
            ClipKey::coarse(&pack, &path(&[(&[1, 2], 0)])),
            ClipKey::coarse(&pack, &path(&[(&[1, 2], 5)])),
        );
    }
}
