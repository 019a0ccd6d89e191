//! The official weights fetched and made into a pack, on a thread of their own.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use engine::import::{
    ESTIMATE, FetchError, Hub, ImportError, Progress, Report, Stage, Watch, import, refuse_taken,
    sizes,
};

use super::Studio;

/// An import as the window shows it.
#[derive(Debug)]
pub struct Import {
    /// The pack's folder.
    pub to: PathBuf,
    pub state: ImportState,
}

#[derive(Debug)]
pub enum ImportState {
    /// The published files would be fetched into a folder first. Nothing was sent yet.
    Asking {
        from: PathBuf,
        hub: Hub,
    },
    Running {
        /// `None` until the first file is read.
        progress: Option<Progress>,
        /// The user has stopped it, and what it wrote is being removed.
        stopping: bool,
    },
    Done(Report),
}

impl Import {
    pub fn is_running(&self) -> bool {
        matches!(self.state, ImportState::Running { .. })
    }
}

/// What the thread has to say.
enum News {
    At(Progress),
    Ended(Result<Report, String>),
    /// Stopped by the user, and what is left of it.
    Stopped(&'static str),
}

/// The thread that imports. Dropping it stops the import and waits until nothing of it is left.
pub struct Importer {
    stop: Arc<AtomicBool>,
    news: Receiver<News>,
    thread: Option<JoinHandle<()>>,
}

impl Importer {
    /// Fetches from a hub first, where one is given. `wake` is called when there is news.
    fn start(
        from: PathBuf,
        to: PathBuf,
        hub: Option<Hub>,
        wake: impl Fn() + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (outbox, news) = channel();
        let (stopped, sender) = (stop.clone(), outbox.clone());
        let spawned = thread::Builder::new().name("import".to_owned()).spawn(move || {
            let ended = match work(&from, &to, hub.as_ref(), &stopped, &sender, &wake) {
                Ok(report) => News::Ended(Ok(report)),
                Err(ImportError::Cancelled) => {
                    News::Stopped("The import was stopped, and nothing of it is left")
                }
                Err(ImportError::Fetch(FetchError::Cancelled)) => {
                    News::Stopped("The fetch was stopped; the next one goes on there")
                }
                Err(error) => News::Ended(Err(error.to_string())),
            };
            sender.send(ended).ok();
            wake();
        });
        let thread = spawned.map_err(|error| {
            let reason = format!("no thread could be started to import: {error}");
            outbox.send(News::Ended(Err(reason))).ok();
        });
        Self { stop, news, thread: thread.ok() }
    }
}

impl Drop for Importer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn work(
    from: &Path,
    to: &Path,
    hub: Option<&Hub>,
    stop: &AtomicBool,
    outbox: &Sender<News>,
    wake: &dyn Fn(),
) -> Result<Report, ImportError> {
    let mut told: Option<(Stage, u64)> = None;
    let watch: &mut Watch<'_> = &mut |progress: Progress| {
        let percent = 100 * progress.done / progress.total.max(1);
        if told != Some((progress.stage, percent)) {
            told = Some((progress.stage, percent));
            outbox.send(News::At(progress)).ok();
            wake();
        }
        if stop.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    if let Some(hub) = hub {
        // Told now rather than after gigabytes.
        refuse_taken(to)?;
        let listing = hub.list(watch)?;
        listing.refuse_beyond(*ESTIMATE.end())?;
        listing.fetch(from, watch)?;
    }
    import(from, to, sizes(from)?, watch)
}

impl Studio {
    pub(super) fn start_import(&mut self, from: PathBuf, to: PathBuf) {
        if !self.model.import.as_ref().is_some_and(Import::is_running) {
            self.import_from(from, to, None);
        }
    }

    pub(super) fn ask_to_fetch(&mut self, from: PathBuf, to: PathBuf) {
        if self.model.import.as_ref().is_some_and(Import::is_running) {
            return;
        }
        match Hub::new(None) {
            Ok(hub) => {
                let state = ImportState::Asking { from, hub };
                self.model.import = Some(Import { to, state });
            }
            Err(error) => {
                let details = self.report(&error.to_string());
                self.model.toasts.error(error.to_string(), details);
            }
        }
    }

    /// What was asked was answered with yes.
    pub(super) fn start_fetch(&mut self) {
        match self.model.import.take() {
            Some(Import { to, state: ImportState::Asking { from, hub } }) => {
                self.import_from(from, to, Some(hub));
            }
            other => self.model.import = other,
        }
    }

    fn import_from(&mut self, from: PathBuf, to: PathBuf, hub: Option<Hub>) {
        let ctx = self.ctx.clone();
        let wake = move || ctx.request_repaint();
        self.importer = Some(Importer::start(from, to.clone(), hub, wake));
        let state = ImportState::Running { progress: None, stopping: false };
        self.model.import = Some(Import { to, state });
    }

    pub(super) fn stop_import(&mut self) {
        if let Some(importer) = &self.importer {
            importer.stop.store(true, Ordering::Relaxed);
        }
        if let Some(Import { state: ImportState::Running { stopping, .. }, .. }) =
            &mut self.model.import
        {
            *stopping = true;
        }
    }

    /// Takes in how far the import is, and how it ended.
    pub(super) fn take_import(&mut self) {
        while let Some(news) = self.importer.as_ref().and_then(|i| i.news.try_recv().ok()) {
            let Some(shown) = &mut self.model.import else {
                return;
            };
            match news {
                News::At(at) => {
                    if let ImportState::Running { progress, .. } = &mut shown.state {
                        *progress = Some(at);
                    }
                    continue;
                }
                News::Ended(Ok(report)) => shown.state = ImportState::Done(report),
                News::Ended(Err(reason)) => {
                    self.model.import = None;
                    let details = self.report(&reason);
                    self.model.toasts.error(reason, details);
                }
                News::Stopped(left) => {
                    self.model.import = None;
                    self.model.toasts.info(left);
                }
            }
            self.importer = None;
        }
    }
}
