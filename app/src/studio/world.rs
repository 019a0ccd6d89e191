//! Pictures that the craft world draws for the window, on a thread of their own.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use engine::craft::Task;
use engine::media::{Clip, Frame, FrameSize};

use engine::pack::PackSource;

use super::map::{ClipRef, CodeMap};

/// One starting frame of the gallery.
#[derive(Debug, Clone)]
pub struct StartingFrame {
    pub task: Task,
    pub seed: u64,
    pub frame: Arc<Frame>,
}

/// What draws the pictures. Called on a background thread only; a picture may take a while.
pub trait World: Send {
    /// A starting frame of an environment that training never saw.
    fn starting_frame(&self, task: Task, seed: u64, size: FrameSize) -> Frame;
    /// A clip of the reference set again.
    fn clip(&self, reference: &ClipRef, size: FrameSize) -> Clip;
    /// The reference set of a pack; `Err` says in words why there is none.
    fn code_map(&self, pack: &PackSource) -> Result<CodeMap, String>;
}

/// What the thread is asked for.
enum Order {
    Gallery { frames: Vec<(Task, u64)>, size: FrameSize },
    Clip { reference: ClipRef, size: FrameSize },
    Map(PackSource),
}

/// What the thread has drawn.
pub enum Drawn {
    Starting(StartingFrame),
    Clip(ClipRef, Clip),
    Map(Result<CodeMap, String>),
}

/// The thread that draws. It ends when this is dropped and the picture in work is done.
pub struct Drawing {
    orders: Sender<Order>,
    drawn: Receiver<Drawn>,
}

impl Drawing {
    /// Starts the thread; `wake` is called after every picture.
    pub fn start(world: impl World + 'static, wake: impl Fn() + Send + 'static) -> Self {
        let (orders, inbox) = channel();
        let (outbox, drawn) = channel();
        // Without a thread the gallery stays empty and files can still be opened.
        let spawned = thread::Builder::new()
            .name("drawing".to_owned())
            .spawn(move || draw(&world, &inbox, &outbox, &wake));
        spawned.ok();
        Self { orders, drawn }
    }

    pub fn ask_gallery(&self, frames: Vec<(Task, u64)>, size: FrameSize) {
        self.orders.send(Order::Gallery { frames, size }).ok();
    }

    pub fn ask_clip(&self, reference: ClipRef, size: FrameSize) {
        self.orders.send(Order::Clip { reference, size }).ok();
    }

    pub fn ask_map(&self, pack: PackSource) {
        self.orders.send(Order::Map(pack)).ok();
    }

    pub fn poll(&self) -> Option<Drawn> {
        self.drawn.try_recv().ok()
    }
}

/// Draws until nobody listens any more.
fn draw(world: &dyn World, inbox: &Receiver<Order>, outbox: &Sender<Drawn>, wake: &dyn Fn()) {
    for order in inbox {
        let delivered = match order {
            Order::Gallery { frames, size } => frames.into_iter().all(|(task, seed)| {
                let frame = Arc::new(world.starting_frame(task, seed, size));
                let sent = outbox.send(Drawn::Starting(StartingFrame { task, seed, frame }));
                wake();
                sent.is_ok()
            }),
            Order::Clip { reference, size } => {
                let clip = world.clip(&reference, size);
                let sent = outbox.send(Drawn::Clip(reference, clip));
                wake();
                sent.is_ok()
            }
            Order::Map(pack) => {
                let sent = outbox.send(Drawn::Map(world.code_map(&pack)));
                wake();
                sent.is_ok()
            }
        };
        if !delivered {
            return;
        }
    }
}
