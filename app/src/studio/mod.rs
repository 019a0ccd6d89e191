//! The studio's window: one state, panels that show it, one place that changes it.

mod background;
mod craft_world;
mod engine;
mod events;
mod execute;
pub mod importer;
mod intake;
pub mod jobs;
pub mod keeper;
mod layout;
pub mod map;
pub mod model;
mod moves;
mod obstacles;
mod play;
pub mod player;
pub mod queue;
pub mod session;
pub mod stopwatch;
pub mod toasts;
pub mod world;

use std::collections::HashSet;
use std::path::PathBuf;

use ::engine::craft::Task;
use ::engine::gpu::{ComputeChoice, DeviceChoice};
use ::engine::media::FrameSize;
use ::engine::memory::Budget;
use ::engine::pack::{PackId, PackSource, Scale};
use ::engine::rollout::{ClipCache, NodeId, Sampling};
use ::engine::worker::{JobId, PackSummary, Worker};
use anyhow::Context as _;
use eframe::egui;

pub use background::CANDIDATES_SHOWN;
pub use engine::Engine;
pub use play::reference_frame;

use crate::state::Settings;
use crate::theme;
use crate::widgets::thumbnail::still;
use crate::widgets::{frame_view, scatter};
use craft_world::CraftWorld;
use importer::Importer;
use intake::{Arrival, Intake};
use keeper::{Keeper, News};
use map::ClipRef;
use model::{Action, Model, Overlay, PackState};
use player::Marks;
use session::Session;
use stopwatch::Timed;
use world::{Drawing, Drawn};

/// Starting frames in the gallery, for each task.
const GALLERY_PER_TASK: u64 = 3;
/// First seed of the gallery's environments.
const GALLERY_SEED: u64 = 1;

/// How to open the window.
#[derive(Debug, Clone)]
pub struct StudioOptions {
    /// A starting frame, session or file of codes named on the command line.
    pub frame: Option<PathBuf>,
    pub pack: PackSource,
    /// What the engine computes on; the window has a device of its own.
    pub device: ComputeChoice,
    /// What the engine may occupy.
    pub memory: Budget,
    /// How large it refines.
    pub scale: Scale,
    /// Where choices are kept between runs; `None` keeps nothing.
    pub settings: Option<PathBuf>,
    /// Folder in which rollouts are kept while they grow; `None` keeps none.
    pub sessions: Option<PathBuf>,
    /// Make one clip, say when, and close: see [`stopwatch`].
    pub timed: bool,
}

/// What the window is made of.
pub struct Parts {
    pub engine: Box<dyn Engine>,
    pub drawing: Drawing,
}

/// The application.
pub struct Studio {
    pub(crate) model: Model,
    engine: Box<dyn Engine>,
    drawing: Drawing,
    intake: Intake,
    /// The import that runs.
    importer: Option<Importer>,
    ctx: egui::Context,
    keeper: Option<Keeper>,
    /// What computes when no other machine does.
    home: DeviceChoice,
    /// Where the pack was read from that was open last.
    source: PackSource,
    settings_path: Option<PathBuf>,
    /// Background jobs that were stopped for the user's own.
    gave_way: HashSet<JobId>,
    /// Where the user waits for a predicted clip.
    waiting_for: Option<NodeId>,
    last_sampling: Sampling,
    /// What was asked for in place of a pack's own sampling.
    chosen_sampling: Option<(PackId, Sampling)>,
    /// Number of the picture that is put on the stage as soon as it has the model's size.
    awaited: u64,
}

impl Studio {
    /// Sets up fonts, colours and the shaders, and asks the engine for the pack.
    pub fn new(cc: &eframe::CreationContext<'_>, parts: Parts, options: StudioOptions) -> Self {
        let ctx = &cc.egui_ctx;
        let settings = options.settings.as_deref().map(Settings::load).unwrap_or_default();
        theme::install_fonts(ctx);
        if let Some(state) = &cc.wgpu_render_state {
            frame_view::install(state);
            scatter::install(state);
        }
        ctx.set_zoom_factor(settings.zoom);
        let model = Model::new(settings);
        model.theme.apply(ctx);
        let keeper = options.sessions.map(|folder| {
            let ctx = ctx.clone();
            Keeper::start(folder, move || ctx.request_repaint())
        });
        let mut studio = Self {
            model,
            keeper,
            engine: parts.engine,
            drawing: parts.drawing,
            intake: Intake::new(ctx.clone()),
            importer: None,
            ctx: ctx.clone(),
            home: match options.device.device {
                DeviceChoice::Remote(_) => DeviceChoice::Auto,
                device => device,
            },
            source: options.pack.clone(),
            settings_path: options.settings,
            gave_way: HashSet::new(),
            waiting_for: None,
            chosen_sampling: None,
            awaited: 0,
            last_sampling: Sampling {
                temperature: 0.0,
                seed: 0,
                refine_steps: 0,
                guidance: 0.0,
                scale: Scale::default(),
            },
        };
        studio.open_pack(options.pack);
        if let Some(frame) = options.frame {
            studio.intake.open_path(frame);
        }
        studio
    }

    /// What the panels show, for tests.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The same to change, for tests that put a panel into a state.
    pub fn model_mut(&mut self) -> &mut Model {
        &mut self.model
    }

    fn ask_for_gallery(&self, pack: &PackSummary) {
        let (height, width) = pack.frame_size;
        // All five tasks, also those a small pack has not learned; every row shows each once.
        let seeds = GALLERY_SEED..GALLERY_SEED + GALLERY_PER_TASK;
        let frames = seeds.flat_map(|seed| Task::ALL.map(|task| (task, seed))).collect();
        self.drawing.ask_gallery(frames, FrameSize { height, width });
    }

    /// Asks once for a clip of the reference set.
    fn want_reference(&mut self, reference: ClipRef) {
        let Some(pack) = self.model.pack() else {
            return;
        };
        let (height, width) = pack.frame_size;
        let clips = &mut self.model.map.clips;
        if let std::collections::hash_map::Entry::Vacant(place) = clips.entry(reference) {
            place.insert(None);
            self.drawing.ask_clip(reference, FrameSize { height, width });
        }
    }

    fn take_drawn(&mut self) {
        while let Some(drawn) = self.drawing.poll() {
            match drawn {
                Drawn::Starting(starting) => {
                    let clip = still((*starting.frame).clone());
                    self.model.gallery.push((starting, clip));
                }
                Drawn::Clip(reference, clip) => {
                    self.model.map.clips.insert(reference, Some(clip));
                }
                Drawn::Map(Ok(map)) => self.model.map.set(map),
                Drawn::Map(Err(reason)) => self.model.map.missing = Some(reason),
            }
        }
    }

    fn take_arrivals(&mut self, ctx: &egui::Context) {
        let (dropped, pasted) = ctx.input(|input| {
            let pasted = input.events.iter().find_map(|event| match event {
                egui::Event::PasteImage(image) => Some(image.clone()),
                _ => None,
            });
            (input.raw.dropped_files.clone(), pasted)
        });
        if let Some(file) = dropped.into_iter().next() {
            self.intake.open_dropped(file);
        }
        // The gallery asks for pictures, other dialogs do not.
        let takes = !self.model.has_dialog() || self.model.view.overlay == Overlay::Gallery;
        if let Some(image) = pasted.filter(|_| takes) {
            self.intake.open_pasted(image);
        }
        while let Some(arrival) = self.intake.poll() {
            match arrival {
                Arrival::Picture { pixels, source, path } => {
                    if let Some(path) = path {
                        self.model.settings.opened(path);
                        self.save_settings();
                    }
                    self.start_from_file(pixels, source);
                }
                Arrival::Fitted { picture, fit, start, number } => {
                    if number == self.awaited {
                        self.start_fitted(picture, fit, start);
                    }
                }
                Arrival::Session(kept) => self.resume(kept),
                Arrival::Codes(stored) => self.open_codes(stored),
                Arrival::Weights { from, to } => {
                    self.model.actions.push(Action::Import { from, to });
                }
                Arrival::PlaceToFetch { from, to } => {
                    self.model.actions.push(Action::AskToFetch { from, to });
                }
                Arrival::Pack(folder) => self.open_pack(PackSource::Folder(folder)),
                Arrival::Saved(path) => {
                    let sentence = format!("Saved {}", path.display());
                    self.model.toasts.info(sentence);
                }
                Arrival::Failed(reason) => {
                    let details = self.report(&reason);
                    self.model.toasts.error(reason, details);
                }
            }
        }
        self.model.reading = self.intake.reading();
    }

    /// Writes the rollout down as it grows, and takes in what was found from the last time.
    fn keep_session(&mut self, ctx: &egui::Context) {
        let Some(keeper) = &mut self.keeper else {
            return;
        };
        let now = ctx.input(|input| input.time);
        if let Some(session) = &self.model.session
            && let Some(wait) = keeper.watch(session, self.model.unfinished(), now)
        {
            ctx.request_repaint_after(wait);
        }
        while let Some(news) = self.keeper.as_ref().and_then(Keeper::poll) {
            match news {
                News::Last(kept) => self.model.last_session = Some(kept),
                News::Failed(reason) => {
                    let details = self.report(&reason);
                    self.model.toasts.error(reason, details);
                }
            }
        }
    }

    /// Puts a rollout on the stage, or none. The one that was there is kept.
    fn put_on_stage(&mut self, session: Option<Session>) {
        if let (Some(keeper), Some(old)) = (&mut self.keeper, &self.model.session) {
            keeper.flush(old, self.model.unfinished());
        }
        self.model.view.selected = None;
        self.model.view.alternatives = None;
        self.model.player.marks = Marks::default();
        self.model.session = session;
    }

    fn save_settings(&mut self) {
        let Some(path) = &self.settings_path else {
            return;
        };
        if let Err(error) = self.model.settings.save(path) {
            let reason = format!("The settings could not be saved: {error}");
            let details = self.report(&reason);
            self.model.toasts.error(reason, details);
        }
    }

    /// References that the panels need pictures of.
    fn want_examples(&mut self) {
        let Some((_, position, prediction)) = self.model.inspected() else {
            return;
        };
        let Some(pack) = self.model.pack() else {
            return;
        };
        let query = position % pack.codes_per_step.max(1);
        let usage = self.model.map.usage(query, prediction.code);
        let points = &self.model.map.map.points;
        let wanted: Vec<ClipRef> = usage.examples.iter().map(|index| points[*index].clip).collect();
        for reference in wanted {
            self.want_reference(reference);
        }
    }
}

impl eframe::App for Studio {
    fn logic(&mut self, ctx: &egui::Context, _frame: &mut eframe::Frame) {
        self.take_events();
        self.take_drawn();
        self.take_import();
        self.work_ahead();
        self.keep_session(ctx);
        let zoom = ctx.zoom_factor();
        if (zoom - self.model.settings.zoom).abs() > 1e-3 {
            self.model.settings.zoom = zoom;
            self.save_settings();
        }
    }

    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut eframe::Frame) {
        let ctx = ui.ctx().clone();
        self.take_arrivals(&ctx);
        self.execute_all(&ctx);
        self.want_examples();
        self.work_ahead();
        self.play(&ctx);
        self.keep_session(&ctx);
        layout::show(&mut self.model, ui);
        if !self.model.actions.is_empty() {
            // What a click asked for happens at once, not with the next movement of the mouse.
            ctx.request_repaint();
        }
        if let Some(left) = self.model.toasts.tick(ctx.input(|input| input.time)) {
            ctx.request_repaint_after_secs(left.max(0.05) as f32);
        }
    }

    fn clear_color(&self, _visuals: &egui::Visuals) -> [f32; 4] {
        self.model.theme.window.to_normalized_gamma_f32()
    }

    fn on_exit(&mut self) {
        self.engine.cancel_all();
        self.put_on_stage(None);
        // Dropping it waits until nothing of an unfinished import is left.
        self.importer = None;
        // Dropping it waits until the last change is written.
        self.keeper = None;
    }
}

/// Opens the window and returns when it is closed.
///
/// # Errors
/// When there is no display, no graphics adapter, or the window cannot be made.
pub fn run(options: StudioOptions) -> anyhow::Result<()> {
    let native = eframe::NativeOptions {
        viewport: egui::ViewportBuilder::default()
            .with_title("VideoWorld Studio")
            .with_app_id("videoworld-studio")
            .with_inner_size([1600.0, 1000.0])
            .with_min_inner_size([960.0, 600.0]),
        renderer: eframe::Renderer::Wgpu,
        ..eframe::NativeOptions::default()
    };
    let create = move |cc: &eframe::CreationContext<'_>| {
        let (for_engine, for_drawing) = (cc.egui_ctx.clone(), cc.egui_ctx.clone());
        let cache = ClipCache::of_user();
        let StudioOptions { device, memory, scale, .. } = options;
        let wake = move || for_engine.request_repaint();
        let worker = Worker::spawn(device, memory, scale, cache, wake);
        let parts = Parts {
            engine: Box::new(worker),
            drawing: Drawing::start(CraftWorld, move || for_drawing.request_repaint()),
        };
        let timed = options.timed;
        let studio = Studio::new(cc, parts, options);
        let app: Box<dyn eframe::App> =
            if timed { Box::new(Timed::new(studio)) } else { Box::new(studio) };
        Ok(app)
    };
    eframe::run_native("VideoWorld Studio", native, Box::new(create))
        .map_err(|error| anyhow::anyhow!("{error}"))
        .context("the window could not be opened")
}

/// Whether there is a pack, for the tests and the layout.
impl PackState {
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Ready(_))
    }
}
