//! Refined clips on the disk, so that none is painted twice, whatever happens to the program.
//!
//! One file a clip, under a name made of everything that decides its pixels. It holds the frames
//! as PNG, and the last one at full precision as well: the next clip goes on from that. Coarse
//! clips are left out: they take seconds, and their exact videos would fill the disk.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use super::{ClipKey, HostVideo};
use crate::media::{self, Clip, Frame, MediaError, write_atomic};
use crate::pack::hex;

/// What a file begins with; another layout gets another number.
const MAGIC: &[u8; 8] = b"VWSCLIP1";
const ENDING: &str = "clip";
/// Hexadecimal digits of a name.
const DIGITS: usize = 32;
/// The most that is kept of one user, bytes.
const LIMIT: u64 = 2_000_000_000;
/// A file that is this old and still being written belongs to a program that was killed.
const ABANDONED: Duration = Duration::from_secs(3600);

/// A folder of refined clips, the ones unused for longest dropped beyond a number of bytes.
///
/// Files are written on a thread of its own, each whole or not at all, and read on the caller's.
/// Files that are not named like ours are never touched. Dropping it waits until all is written.
#[derive(Debug)]
pub struct ClipCache {
    folder: PathBuf,
    orders: Option<Sender<Order>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Order {
    Write { name: String, clip: Clip, last: Arc<HostVideo> },
    Flush(Sender<()>),
}

/// What the thread and the callers both know.
#[derive(Debug, Default)]
struct Shared {
    /// Names that are not on the disk yet.
    waiting: Mutex<HashSet<String>>,
    failure: Mutex<Option<String>>,
}

// A panic elsewhere leaves these whole: every change is one step.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClipCache {
    /// That of this user; `None` on a machine without a folder for such files.
    pub fn of_user() -> Option<Self> {
        let folder = dirs::cache_dir()?.join("videoworld-studio").join("clips");
        Some(Self::open(folder, LIMIT))
    }

    /// Opens a folder, which is made with the first clip, and holds it at `limit` bytes.
    pub fn open(folder: PathBuf, limit: u64) -> Self {
        let (orders, inbox) = channel();
        let shared = Arc::new(Shared::default());
        let (place, known) = (folder.clone(), shared.clone());
        let spawned = thread::Builder::new()
            .name("clips".to_owned())
            .spawn(move || work(&place, limit, &inbox, &known));
        // Without a thread nothing is kept, and every order fails at once.
        Self { folder, orders: Some(orders), shared, thread: spawned.ok() }
    }

    /// The clip under `key` as `device`, described in words, painted it, with its last frame
    /// `[1, 3, 1, height, width]`. A file that is damaged counts as none and is removed.
    pub(super) fn read(&self, key: ClipKey, device: &str) -> Option<(Vec<Frame>, HostVideo)> {
        let name = name(key, device);
        if locked(&self.shared.waiting).contains(&name) {
            self.flush();
        }
        let path = self.folder.join(name);
        let bytes = fs::read(&path).ok()?;
        let Some(clip) = decode(&bytes) else {
            fs::remove_file(&path).ok();
            return None;
        };
        // Where the time cannot be set, the clip only ages faster.
        let touched = File::options().append(true).open(&path);
        touched.and_then(|file| file.set_modified(SystemTime::now())).ok();
        Some(clip)
    }

    /// Has a clip written; `last` is its last frame.
    pub(super) fn write(&self, key: ClipKey, device: &str, clip: Clip, last: Arc<HostVideo>) {
        let name = name(key, device);
        locked(&self.shared.waiting).insert(name.clone());
        if let Some(orders) = &self.orders {
            orders.send(Order::Write { name, clip, last }).ok();
        }
    }

    /// Waits until all clips are written.
    pub fn flush(&self) {
        let (done, wait) = channel();
        if let Some(orders) = &self.orders
            && orders.send(Order::Flush(done)).is_ok()
        {
            wait.recv().ok();
        }
    }

    /// One sentence about the first clip that could not be written, once.
    pub fn take_failure(&self) -> Option<String> {
        locked(&self.shared.failure).take()
    }
}

impl Drop for ClipCache {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn work(folder: &Path, limit: u64, inbox: &Receiver<Order>, shared: &Shared) {
    prune(folder, limit);
    let mut failed = false;
    for order in inbox {
        let (name, clip, last) = match order {
            Order::Write { name, clip, last } => (name, clip, last),
            Order::Flush(done) => {
                done.send(()).ok();
                continue;
            }
        };
        let written =
            encode(&clip, &last).and_then(|bytes| write_atomic(&folder.join(&name), &bytes));
        locked(&shared.waiting).remove(&name);
        if let (Err(error), false) = (written, failed) {
            failed = true;
            let reason = format!("Refined clips cannot be kept on the disk: {error}");
            *locked(&shared.failure) = Some(reason);
        }
        prune(folder, limit);
    }
}

/// What decides the pixels beyond the key: devices round differently, and so may versions.
fn name(key: ClipKey, device: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(key.0);
    hash.update(env!("CARGO_PKG_VERSION").as_bytes());
    hash.update([0]);
    hash.update(device.as_bytes());
    let mut name = hex(&hash.finalize());
    name.truncate(DIGITS);
    format!("{name}.{ENDING}")
}

fn is_ours(name: &str) -> bool {
    name.strip_suffix(ENDING)
        .and_then(|name| name.strip_suffix('.'))
        .is_some_and(|name| name.len() == DIGITS && name.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Whether `write_atomic` left it behind: `.NAME.PROCESS.part`.
fn is_our_leftover(name: &str) -> bool {
    let whole = name.strip_prefix('.').and_then(|name| name.strip_suffix(".part"));
    whole.and_then(|name| name.rsplit_once('.')).is_some_and(|(name, _)| is_ours(name))
}

/// Removes the clips unused for longest beyond `limit` bytes, and what was never finished.
fn prune(folder: &Path, limit: u64) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    let mut clips = Vec::new();
    for entry in entries.flatten() {
        let (name, Ok(facts)) = (entry.file_name(), entry.metadata()) else {
            continue;
        };
        let (Some(name), Ok(modified)) = (name.to_str(), facts.modified()) else {
            continue;
        };
        if is_ours(name) {
            clips.push((modified, facts.len(), entry.path()));
        } else if is_our_leftover(name) && modified.elapsed().is_ok_and(|age| age > ABANDONED) {
            fs::remove_file(entry.path()).ok();
        }
    }
    clips.sort();
    let mut used: u64 = clips.iter().map(|(_, bytes, _)| bytes).sum();
    for (_, bytes, path) in clips {
        if used <= limit {
            return;
        }
        // Another program may have removed it: gone is gone.
        fs::remove_file(path).ok();
        used -= bytes;
    }
}

/// Magic, checksum of the rest; width and height; the last frame's numbers; then for every frame
/// the length of its PNG and the PNG. Numbers are little-endian.
fn encode(clip: &Clip, last: &HostVideo) -> Result<Vec<u8>, MediaError> {
    let [_, _, _, height, width] = last.shape();
    let mut body = Vec::new();
    body.extend((width as u32).to_le_bytes());
    body.extend((height as u32).to_le_bytes());
    body.extend(last.values().iter().flat_map(|value| value.to_le_bytes()));
    for frame in clip.iter() {
        let png = media::png_bytes(frame)?;
        body.extend((png.len() as u32).to_le_bytes());
        body.extend(png);
    }
    let mut bytes = MAGIC.to_vec();
    bytes.extend(crc32fast::hash(&body).to_le_bytes());
    bytes.extend(body);
    Ok(bytes)
}

/// `None` for anything that [`encode`] did not make.
fn decode(bytes: &[u8]) -> Option<(Vec<Frame>, HostVideo)> {
    let mut body = bytes.strip_prefix(MAGIC)?;
    if take_u32(&mut body)? != crc32fast::hash(body) {
        return None;
    }
    let (width, height) = (take_u32(&mut body)?, take_u32(&mut body)?);
    let shape = [1, 3, 1, height as usize, width as usize];
    let numbers = take(&mut body, shape.iter().product::<usize>().checked_mul(4)?)?;
    let values = numbers.chunks_exact(4).map(|n| f32::from_le_bytes([n[0], n[1], n[2], n[3]]));
    let last = HostVideo::of(shape, values.collect());
    let mut pictures = Vec::new();
    while !body.is_empty() {
        let length = take_u32(&mut body)? as usize;
        pictures.push(take(&mut body, length)?);
    }
    let read = |png: &&[u8]| media::image_from_bytes(png, "a kept clip").ok();
    let frames: Option<Vec<Frame>> = pictures.par_iter().map(read).collect();
    let frames = frames.filter(|frames| !frames.is_empty())?;
    frames.iter().all(|frame| frame.dimensions() == (width, height)).then_some((frames, last))
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(take(bytes, 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: &str = "a card";

    fn clip(shade: u8) -> (Clip, Arc<HostVideo>) {
        let frames = (0..3).map(|i| Frame::from_fn(4, 2, |x, _| image::Rgb([shade, i, x as u8])));
        // Neither clamped nor rounded.
        let last = (0..24).map(|i| i as f32 / 7.0 - 1.5).collect();
        (Arc::new(frames.collect()), Arc::new(HostVideo::of([1, 3, 1, 2, 4], last)))
    }

    fn key(n: u8) -> ClipKey {
        ClipKey([n; 16])
    }

    fn put(cache: &ClipCache, n: u8) {
        let (clip, last) = clip(n);
        cache.write(key(n), DEVICE, clip, last);
        cache.flush();
    }

    fn path(folder: &Path, n: u8) -> PathBuf {
        folder.join(name(key(n), DEVICE))
    }

    #[test]
    fn a_clip_comes_back_exactly_and_only_for_its_key_and_device() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("deep").join("clips");
        let (frames, last) = clip(7);
        {
            let cache = ClipCache::open(folder.clone(), 1 << 20);
            assert!(cache.read(key(7), DEVICE).is_none());
            cache.write(key(7), DEVICE, frames.clone(), last.clone());
            // What is on its way is waited for.
            assert!(cache.read(key(7), DEVICE).is_some());
        }
        let cache = ClipCache::open(folder, 1 << 20);
        let (read, read_last) = cache.read(key(7), DEVICE).unwrap();
        assert_eq!((read, read_last), ((*frames).clone(), (*last).clone()));
        assert!(cache.read(key(8), DEVICE).is_none());
        assert!(cache.read(key(7), "another card").is_none(), "devices round differently");
    }

    #[test]
    fn a_damaged_file_is_none_and_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let cache = ClipCache::open(dir.path().to_owned(), 1 << 20);
        put(&cache, 1);
        let whole = fs::read(path(dir.path(), 1)).unwrap();
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        let damaged = [&[][..], b"VWSCLIP1", &whole[..whole.len() - 3], &flipped];
        for bytes in damaged {
            fs::write(path(dir.path(), 1), bytes).unwrap();
            assert!(cache.read(key(1), DEVICE).is_none(), "{} bytes", bytes.len());
            assert!(!path(dir.path(), 1).exists());
        }
        fs::write(path(dir.path(), 1), whole).unwrap();
        assert!(cache.read(key(1), DEVICE).is_some());
    }

    #[test]
    fn the_clip_unused_for_longest_goes_first_and_other_files_stay() {
        let dir = tempfile::tempdir().unwrap();
        let aged = |path: &Path, seconds: u64| {
            let file = File::options().append(true).open(path).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
        };
        let foreign = ["notes.clip", "0123456789abcdef0123456789abcdef.txt", ".x.clip.1.part"];
        for name in foreign {
            fs::write(dir.path().join(name), vec![0; 4096]).unwrap();
            aged(&dir.path().join(name), 90_000);
        }
        let leftover = dir.path().join(format!(".{}.77.part", name(key(9), DEVICE)));
        fs::write(&leftover, "half").unwrap();
        aged(&leftover, 90_000);
        let young = dir.path().join(format!(".{}.78.part", name(key(9), DEVICE)));
        fs::write(&young, "being written by another program").unwrap();

        let size = {
            let cache = ClipCache::open(dir.path().to_owned(), 1 << 20);
            put(&cache, 1);
            fs::metadata(path(dir.path(), 1)).unwrap().len()
        };
        assert!(!leftover.exists() && young.exists());
        let cache = ClipCache::open(dir.path().to_owned(), 2 * size + size / 2);
        put(&cache, 2);
        aged(&path(dir.path(), 1), 300);
        aged(&path(dir.path(), 2), 200);
        assert!(cache.read(key(1), DEVICE).is_some(), "using it makes it young again");
        put(&cache, 3);
        let there = [1, 2, 3].map(|n| path(dir.path(), n).exists());
        assert_eq!(there, [true, false, true]);
        assert!(foreign.iter().all(|name| dir.path().join(name).exists()));
    }

    #[test]
    fn what_cannot_be_written_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let taken = dir.path().join("taken");
        fs::write(&taken, "a file where the folder should be").unwrap();
        let cache = ClipCache::open(taken, 1 << 20);
        put(&cache, 1);
        put(&cache, 2);
        let reason = cache.take_failure().unwrap();
        assert!(reason.contains("taken"), "{reason}");
        assert!(cache.take_failure().is_none());
    }
}
