//! Keeps every rollout in a file of its own while it grows, so that a crash loses a second at most,
//! and finds the last one at the next start. All files are read and written on a thread.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use engine::media::Frame;
use engine::rollout::{NodeId, Rollout, Sampling, Session as SavedSession, Unfinished};

use super::session::Session;

/// How long changes gather before they are written, seconds.
const DELAY: f64 = 1.0;
/// Rollouts that are kept, newest first.
const KEPT: usize = 50;

/// A rollout from a file.
#[derive(Debug, Clone)]
pub struct Kept {
    pub path: PathBuf,
    pub saved: Arc<SavedSession>,
}

/// What the thread has to say.
#[derive(Debug)]
pub enum News {
    /// The newest rollout that was there at the start.
    Last(Kept),
    /// One sentence about what could not be written.
    Failed(String),
}

/// What of a rollout can change: its starting frame names it.
#[derive(Debug, Clone)]
struct State {
    start: Arc<Frame>,
    nodes: usize,
    current: NodeId,
    sampling: Sampling,
    unfinished: Unfinished,
}

impl State {
    fn of(session: &Session, unfinished: Unfinished) -> Self {
        let rollout = &session.rollout;
        Self {
            start: rollout.start.clone(),
            nodes: rollout.nodes().len(),
            current: rollout.current(),
            sampling: session.sampling().clone(),
            unfinished,
        }
    }

    fn same_rollout(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.start, &other.start)
    }

    fn same(&self, other: &Self) -> bool {
        self.same_rollout(other)
            && (self.nodes, self.current) == (other.nodes, other.current)
            && (&self.sampling, &self.unfinished) == (&other.sampling, &other.unfinished)
    }
}

/// Writes rollouts into a folder. Dropping it waits until everything is written.
pub struct Keeper {
    folder: PathBuf,
    /// The state that was written last, and into which file.
    written: Option<(State, PathBuf)>,
    /// When the changes at hand are written, egui seconds.
    due: Option<f64>,
    orders: Option<Sender<(PathBuf, SavedSession)>>,
    news: Receiver<News>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the thread; `wake` is called when it has news.
    pub fn start(folder: PathBuf, wake: impl Fn() + Send + 'static) -> Self {
        let (orders, inbox) = channel();
        let (outbox, news) = channel();
        let place = folder.clone();
        let spawned = thread::Builder::new()
            .name("keeper".to_owned())
            .spawn(move || work(&place, &inbox, &outbox, &wake));
        // Without a thread nothing is kept, and every order fails at once.
        Self { folder, written: None, due: None, orders: Some(orders), news, thread: spawned.ok() }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn poll(&self) -> Option<News> {
        self.news.try_recv().ok()
    }

    /// Looks at the rollout and writes it when a change has waited long enough; returns how long
    /// the change at hand still waits.
    pub fn watch(
        &mut self,
        session: &Session,
        unfinished: Unfinished,
        now: f64,
    ) -> Option<Duration> {
        let state = State::of(session, unfinished);
        if !self.has_changed(&state) {
            self.due = None;
            return None;
        }
        let due = *self.due.get_or_insert(now + DELAY);
        if now < due {
            return Some(Duration::from_secs_f64(due - now));
        }
        self.write(session, state);
        None
    }

    /// Writes what is not written yet, for a rollout that is about to be left.
    pub fn flush(&mut self, session: &Session, unfinished: Unfinished) {
        let state = State::of(session, unfinished);
        if self.has_changed(&state) {
            self.write(session, state);
        }
    }

    /// Goes on in the file that a rollout was read from, if it is one of ours.
    pub fn follow(&mut self, session: &Session, unfinished: Unfinished, path: &Path) {
        if path.parent() == Some(&self.folder) {
            let state = State::of(session, unfinished);
            self.written = Some((state, path.to_owned()));
        }
    }

    /// A starting frame alone is nothing to keep.
    fn has_changed(&self, state: &State) -> bool {
        let written = self.written.as_ref().is_some_and(|(written, _)| written.same(state));
        state.nodes > 1 && !written
    }

    fn write(&mut self, session: &Session, state: State) {
        let path = match &self.written {
            Some((written, path)) if written.same_rollout(&state) => path.clone(),
            _ => self.folder.join(new_name(&session.rollout)),
        };
        if let Some(orders) = &self.orders {
            orders.send((path.clone(), session.saved(state.unfinished.clone()))).ok();
        }
        self.written = Some((state, path));
        self.due = None;
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// The task for people, the time to tell rollouts apart.
fn new_name(rollout: &Rollout) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let task = rollout.task.label().to_lowercase().replace(' ', "-");
    format!("{task}-{}.json", since.as_millis())
}

fn work(
    folder: &Path,
    inbox: &Receiver<(PathBuf, SavedSession)>,
    outbox: &Sender<News>,
    wake: &dyn Fn(),
) {
    let tell = |news| {
        outbox.send(news).ok();
        wake();
    };
    if let Some(last) = newest(folder) {
        tell(News::Last(last));
    }
    for (path, saved) in inbox {
        if let Err(error) = saved.save(&path) {
            tell(News::Failed(format!("The rollout could not be kept: {error}")));
        }
    }
}

/// Whether a file is named by [`new_name`]; what people saved beside those is theirs.
fn is_ours(path: &Path) -> bool {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let time = stem.and_then(|stem| stem.rsplit_once('-')).map(|(_, time)| time);
    path.extension().is_some_and(|ending| ending == "json")
        && time.is_some_and(|time| time.len() >= 13 && time.bytes().all(|b| b.is_ascii_digit()))
}

/// The newest rollout in the folder that can be read; far too old ones are removed.
fn newest(folder: &Path) -> Option<Kept> {
    let entries = fs::read_dir(folder).ok()?;
    let mut files: Vec<(SystemTime, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let path = entry.path();
            is_ours(&path).then_some((entry.metadata().ok()?.modified().ok()?, path))
        })
        .collect();
    files.sort();
    files.reverse();
    for (_, old) in files.drain(KEPT.min(files.len())..) {
        fs::remove_file(old).ok();
    }
    files.into_iter().find_map(|(_, path)| {
        let saved = Arc::new(SavedSession::load(&path).ok()?);
        Some(Kept { path, saved })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_files_of_ours_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let touch = |name: String| fs::write(dir.path().join(name), "no session").unwrap();
        (0..KEPT + 2).for_each(|i| touch(format!("paper-boat-{}.json", 1_700_000_000_000 + i)));
        for name in ["talk.json", "my-boat-2.json", "paper-boat-1700000000000.txt"] {
            touch(name.into());
        }
        assert!(newest(dir.path()).is_none(), "none of them can be read");
        let left: Vec<PathBuf> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left.iter().filter(|path| is_ours(path)).count(), KEPT);
        assert_eq!(left.len(), KEPT + 3);
    }
}
