//! Progress on standard error: one moving line on a terminal, one line a stage elsewhere.

use std::io::{IsTerminal as _, Write as _};
use std::ops::ControlFlow;
use std::time::Instant;

use engine::rollout::{ClipKey, ClipQuality, Stage, Watch};
use engine::worker::Eta;

pub struct Progress {
    started: Instant,
    eta: Eta,
    on_terminal: bool,
    stage: Option<Stage>,
}

impl Progress {
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            eta: Eta::default(),
            on_terminal: std::io::stderr().is_terminal(),
            stage: None,
        }
    }

    /// Ends the moving line, so that what follows starts on its own.
    pub fn end(&mut self) {
        if self.on_terminal && self.stage.take().is_some() {
            eprintln!();
        }
    }
}

impl Watch for Progress {
    fn step(&mut self, stage: Stage, done: usize, total: usize) -> ControlFlow<()> {
        let left = self.eta.finished(stage, done, total, self.started.elapsed());
        if self.on_terminal {
            let left = left.map(|l| format!(", {:.0} s left", l.as_secs_f32())).unwrap_or_default();
            eprint!("\r{:<60}", format!("{} {done}/{total}{left}", stage.label()));
            std::io::stderr().flush().ok();
        } else if self.stage != Some(stage) {
            eprintln!("{}", stage.label());
        }
        self.stage = Some(stage);
        ControlFlow::Continue(())
    }

    fn clip_ready(&mut self, _key: ClipKey, _quality: ClipQuality) {}
}
