//! Time: moves the player when its next frame is due, and asks for no more repaints than that.

use std::time::Duration;

use eframe::egui;
use engine::craft::FPS;

use super::Studio;
use super::map::MapView;

impl Studio {
    pub(super) fn play(&mut self, ctx: &egui::Context) {
        let now = ctx.input(|input| input.time);
        self.play_stage(ctx, now);
        play_reference(&mut self.model.map, ctx, now, self.model.player.speed);
    }

    fn play_stage(&mut self, ctx: &egui::Context, now: f64) {
        if !self.model.player.playing {
            return;
        }
        let Some(session) = &mut self.model.session else {
            self.model.player.playing = false;
            return;
        };
        let fps = f64::from(session.pack().fps * self.model.player.speed).max(0.1);
        let period = 1.0 / fps;
        let shown_at = *self.model.player.shown_at.get_or_insert(now);
        let due = ((now - shown_at) / period).floor();
        if due >= 1.0 {
            let before = session.current();
            let frames = if self.model.player.backward { -due } else { due } as i64;
            let moved = session.play_by(frames, self.model.player.range());
            self.model.player.shown_at = Some(shown_at + due * period);
            if session.current() != before {
                self.model.view.selected = None;
            }
            if !moved {
                self.at_the_end();
                if !self.model.player.playing {
                    return;
                }
            }
        }
        let next = self.model.player.shown_at.unwrap_or(now) + period - now;
        let waits = self.model.player.to_the_end && self.stands_at_the_end();
        if !waits {
            ctx.request_repaint_after(Duration::from_secs_f64(next.max(0.001)));
        }
    }

    fn stands_at_the_end(&self) -> bool {
        self.model.session.as_ref().is_some_and(|session| {
            session.next_on_line().is_none() && session.frame() >= session.last_frame()
        })
    }

    /// Play stopped at the end of what may be played: wait for more, start again, or rest.
    fn at_the_end(&mut self) {
        let Some(session) = &mut self.model.session else {
            return;
        };
        let player = &mut self.model.player;
        if player.to_the_end && !session.is_complete(session.tip()) {
            // The next event of the engine wakes the window.
            player.shown_at = None;
            return;
        }
        player.to_the_end = false;
        let range = player.marks.range();
        if player.once || !player.looping {
            player.playing = false;
        } else if player.backward {
            session.seek((*range.end()).min(session.end()));
        } else {
            session.seek(*range.start());
        }
    }
}

/// The clip of the selected map point plays once and rests on its last frame.
fn play_reference(map: &mut MapView, ctx: &egui::Context, now: f64, speed: f32) {
    let Some(point) = map.selected.and_then(|index| map.map.points.get(index)) else {
        return;
    };
    let Some(Some(clip)) = map.clips.get(&point.clip) else {
        return;
    };
    let since = *map.playing_since.get_or_insert(now);
    let frame = reference_frame(since, now, speed);
    if frame + 1 < clip.len() {
        let next = since + (frame + 1) as f64 / reference_rate(speed) - now;
        ctx.request_repaint_after(Duration::from_secs_f64(next.max(0.001)));
    }
}

/// Frame of a reference clip that began to play at `since`, seconds.
pub fn reference_frame(since: f64, now: f64, speed: f32) -> usize {
    ((now - since) * reference_rate(speed)).max(0.0) as usize
}

/// Frames a second: the craft world draws them, whatever the pack's clips have.
fn reference_rate(speed: f32) -> f64 {
    f64::from(FPS * speed)
}
