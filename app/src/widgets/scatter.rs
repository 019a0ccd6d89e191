//! Many points in a plane, drawn by `shaders/scatter.wgsl`. Picking happens on the CPU.

use std::collections::HashMap;
use std::sync::Arc;

use eframe::egui::{self, Color32, Pos2, Rect, Vec2};
use eframe::egui_wgpu;

use super::gpu::{self, Renderer};

/// How far from a point a click still means it, points.
pub const PICK_RADIUS: f32 = 14.0;

/// Points ready to draw. A new `Arc` of it is uploaded, the same one is not uploaded again.
#[derive(Debug)]
pub struct Points {
    pub positions: Vec<[f32; 2]>,
    pub colours: Vec<Color32>,
}

/// Where a map unit lies on the screen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Camera {
    /// The map position in the middle of the plot.
    pub centre: [f32; 2],
    /// Screen points per map unit.
    pub scale: f32,
}

impl Camera {
    /// Shows all of `positions` in a plot of `size` points.
    pub fn fit(positions: &[[f32; 2]], size: Vec2) -> Self {
        let mut bounds = Rect::NOTHING;
        for [x, y] in positions {
            bounds.extend_with(Pos2::new(*x, *y));
        }
        if !bounds.is_finite() {
            bounds = Rect::from_center_size(Pos2::ZERO, Vec2::splat(1.0));
        }
        let extent = bounds.size().max(Vec2::splat(1e-3));
        Self {
            centre: [bounds.center().x, bounds.center().y],
            scale: (size.x / extent.x).min(size.y / extent.y) * 0.9,
        }
    }

    /// The screen position of a map position. The map's y points up.
    pub fn screen(&self, rect: Rect, at: [f32; 2]) -> Pos2 {
        rect.center()
            + Vec2::new(
                (at[0] - self.centre[0]) * self.scale,
                (self.centre[1] - at[1]) * self.scale,
            )
    }

    pub fn pan(&mut self, delta: Vec2) {
        self.centre[0] -= delta.x / self.scale;
        self.centre[1] += delta.y / self.scale;
    }

    /// Zooms by `factor` so that what lies under `anchor` stays there.
    pub fn zoom(&mut self, rect: Rect, anchor: Pos2, factor: f32) {
        let from_middle = anchor - rect.center();
        self.pan(-from_middle);
        self.scale = (self.scale * factor).clamp(1e-3, 1e6);
        self.pan(from_middle);
    }
}

/// The point nearest to `pointer`, if one is near enough.
pub fn pick(positions: &[[f32; 2]], camera: &Camera, rect: Rect, pointer: Pos2) -> Option<usize> {
    positions
        .iter()
        .enumerate()
        .map(|(index, at)| (index, camera.screen(rect, *at).distance_sq(pointer)))
        .filter(|(_, distance)| *distance <= PICK_RADIUS * PICK_RADIUS)
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(index, _)| index)
}

/// The points inside a line on the screen, whose ends are taken as joined.
pub fn enclosed(positions: &[[f32; 2]], camera: &Camera, rect: Rect, line: &[Pos2]) -> Vec<usize> {
    let bounds = Rect::from_points(line);
    let inside = |at: Pos2| {
        // A ray to the right leaves the area through an odd number of edges.
        let edges = line.iter().zip(line.iter().cycle().skip(1));
        let crossed = edges.filter(|(a, b)| {
            (a.y > at.y) != (b.y > at.y) && at.x < (b.x - a.x) * (at.y - a.y) / (b.y - a.y) + a.x
        });
        bounds.contains(at) && crossed.count() % 2 == 1
    };
    let points = positions.iter().enumerate();
    points.filter(|(_, at)| inside(camera.screen(rect, **at))).map(|(index, _)| index).collect()
}

/// Paints the points into `rect`. `id` must differ between plots of one window.
pub fn paint(ui: &egui::Ui, id: u64, rect: Rect, camera: Camera, radius: f32, points: Arc<Points>) {
    if points.positions.is_empty() || !rect.is_positive() {
        return;
    }
    gpu::paint::<ScatterRenderer>(ui, rect, Scatter { id, rect, camera, radius, points });
}

/// Makes [`paint`] possible on this card. Without it plots stay blank.
pub fn install(state: &egui_wgpu::RenderState) {
    gpu::install(state, ScatterRenderer::new(&state.device, state.target_format));
}

struct Scatter {
    id: u64,
    rect: Rect,
    camera: Camera,
    radius: f32,
    points: Arc<Points>,
}

struct Plot {
    points: Arc<Points>,
    vertices: wgpu::Buffer,
    bindings: wgpu::BindGroup,
}

struct ScatterRenderer {
    pipeline: wgpu::RenderPipeline,
    layout: wgpu::BindGroupLayout,
    linear_target: bool,
    plots: HashMap<u64, Plot>,
}

impl ScatterRenderer {
    fn new(device: &wgpu::Device, format: wgpu::TextureFormat) -> Self {
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("scatter"),
            source: wgpu::ShaderSource::Wgsl(include_str!("../../../shaders/scatter.wgsl").into()),
        });
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("scatter"),
            entries: &[gpu::uniform_entry(wgpu::ShaderStages::VERTEX_FRAGMENT)],
        });
        let attributes = wgpu::vertex_attr_array![0 => Float32x2, 1 => Unorm8x4];
        let vertices = [Some(wgpu::VertexBufferLayout {
            array_stride: 12,
            step_mode: wgpu::VertexStepMode::Instance,
            attributes: &attributes,
        })];
        let pipeline = gpu::pipeline(device, "scatter", &module, &layout, &vertices, format);
        Self { pipeline, layout, linear_target: format.is_srgb(), plots: HashMap::new() }
    }

    /// The uniform block of the shader, word by word.
    fn settings(&self, scatter: &Scatter, pixels_per_point: f32) -> [u32; 12] {
        let rect = scatter.rect;
        let origin = (scatter.camera.screen(rect, [0.0, 0.0]) - rect.min) * pixels_per_point;
        let scale = scatter.camera.scale * pixels_per_point;
        let linear = if self.linear_target { 1.0 } else { 0.0 };
        [
            rect.min.x * pixels_per_point,
            rect.min.y * pixels_per_point,
            rect.width() * pixels_per_point,
            rect.height() * pixels_per_point,
            scale,
            -scale,
            origin.x,
            origin.y,
            scatter.radius * pixels_per_point,
            linear,
            0.0,
            0.0,
        ]
        .map(f32::to_bits)
    }
}

impl Renderer for ScatterRenderer {
    type Drawable = Scatter;

    fn prepare(
        &mut self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        scatter: &Scatter,
        pixels_per_point: f32,
    ) {
        let settings = self.settings(scatter, pixels_per_point);
        let uniform = gpu::uniform_buffer(device, queue, &settings);
        let bindings = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("scatter"),
            layout: &self.layout,
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: uniform.as_entire_binding() }],
        });
        match self.plots.get_mut(&scatter.id) {
            Some(plot) if Arc::ptr_eq(&plot.points, &scatter.points) => plot.bindings = bindings,
            _ => {
                let plot = Plot {
                    points: scatter.points.clone(),
                    vertices: upload_points(device, queue, &scatter.points),
                    bindings,
                };
                self.plots.insert(scatter.id, plot);
            }
        }
    }

    fn draw(&self, scatter: &Scatter, pass: &mut wgpu::RenderPass<'static>) {
        let Some(plot) = self.plots.get(&scatter.id) else {
            return;
        };
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &plot.bindings, &[]);
        pass.set_vertex_buffer(0, plot.vertices.slice(..));
        pass.draw(0..6, 0..plot.points.positions.len() as u32);
    }
}

fn upload_points(device: &wgpu::Device, queue: &wgpu::Queue, points: &Points) -> wgpu::Buffer {
    let mut bytes = Vec::with_capacity(points.positions.len() * 12);
    for ([x, y], colour) in points.positions.iter().zip(&points.colours) {
        bytes.extend_from_slice(&x.to_le_bytes());
        bytes.extend_from_slice(&y.to_le_bytes());
        bytes.extend_from_slice(&colour.to_srgba_unmultiplied());
    }
    let buffer = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("scatter"),
        size: bytes.len() as u64,
        usage: wgpu::BufferUsages::VERTEX | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    queue.write_buffer(&buffer, 0, &bytes);
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot() -> Rect {
        Rect::from_min_size(Pos2::new(10.0, 20.0), Vec2::new(200.0, 100.0))
    }

    #[test]
    fn fitting_shows_every_point() {
        let positions = [[-3.0, 0.0], [5.0, 2.0], [1.0, -8.0]];
        let camera = Camera::fit(&positions, plot().size());
        for at in positions {
            assert!(plot().contains(camera.screen(plot(), at)));
        }
    }

    #[test]
    fn zooming_keeps_what_lies_under_the_pointer() {
        let mut camera = Camera { centre: [1.0, 2.0], scale: 10.0 };
        let at = [3.0, 4.0];
        let anchor = camera.screen(plot(), at);
        camera.zoom(plot(), anchor, 2.5);
        assert!(camera.screen(plot(), at).distance(anchor) < 1e-3);
        assert_eq!(camera.scale, 25.0);
    }

    #[test]
    fn a_line_encloses_what_lies_within_it() {
        let positions = [[0.0, 0.0], [2.0, 0.0], [4.0, 0.0], [2.0, 3.0]];
        let camera = Camera { centre: [2.0, 1.0], scale: 10.0 };
        // A U around the first and the third point: the second lies in its opening.
        let corners = [
            [-1.0, 2.0],
            [-1.0, -2.0],
            [5.0, -2.0],
            [5.0, 2.0],
            [3.0, 2.0],
            [3.0, -1.0],
            [1.0, -1.0],
            [1.0, 2.0],
        ];
        let line = corners.map(|at| camera.screen(plot(), at));
        assert_eq!(enclosed(&positions, &camera, plot(), &line), [0, 2]);
        assert!(enclosed(&positions, &camera, plot(), &line[..2]).is_empty());
        assert!(enclosed(&positions, &camera, plot(), &[]).is_empty());
    }

    #[test]
    fn the_nearest_point_within_reach_is_picked() {
        let positions = [[0.0, 0.0], [1.0, 0.0], [50.0, 50.0]];
        let camera = Camera { centre: [0.0, 0.0], scale: 10.0 };
        let near = camera.screen(plot(), [0.8, 0.1]);
        assert_eq!(pick(&positions, &camera, plot(), near), Some(1));
        let far = camera.screen(plot(), [10.0, 10.0]);
        assert_eq!(pick(&positions, &camera, plot(), far), None);
    }
}
