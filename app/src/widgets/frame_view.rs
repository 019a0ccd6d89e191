//! Frames on the stage, drawn by `shaders/frame.wgsl`: a clip is uploaded once as a texture array
//! and every frame of it is a layer.

use std::collections::HashMap;
use std::sync::Arc;

use eframe::egui::{self, Rect};
use eframe::egui_wgpu;
use engine::media::Clip;

use super::gpu::{self, Renderer};

/// Clips kept on the card beyond those just shown.
const CLIPS_KEPT: usize = 48;

/// How two frames are laid on each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Blend {
    /// A alone.
    Single,
    /// A left of the line at this part of the width, B right of it.
    Wipe(f32),
    /// |A - B|, brightened by this factor.
    Difference(f32),
}

/// One frame of a clip.
#[derive(Debug, Clone)]
pub struct Shot {
    pub clip: Clip,
    pub frame: usize,
}

impl Shot {
    /// `frame` is moved into the clip if it lies behind its end.
    pub fn new(clip: Clip, frame: usize) -> Self {
        let frame = frame.min(clip.len().saturating_sub(1));
        Self { clip, frame }
    }

    /// Width and height, pixels.
    pub fn size(&self) -> egui::Vec2 {
        self.clip.get(self.frame).map_or(egui::Vec2::ZERO, |frame| {
            egui::vec2(frame.width() as f32, frame.height() as f32)
        })
    }
}

/// Paints `a` (and `b`) into `rect`. `id` must differ between views of one window.
pub fn paint(
    ui: &egui::Ui,
    id: u64,
    rect: Rect,
    radius: f32,
    a: Shot,
    b: Option<Shot>,
    blend: Blend,
) {
    let empty = |shot: &Shot| shot.clip.is_empty();
    if empty(&a) || b.as_ref().is_some_and(empty) || !rect.is_positive() {
        return;
    }
    let view = FrameView { id, rect, radius, b: b.unwrap_or_else(|| a.clone()), a, blend };
    gpu::paint::<FrameRenderer>(ui, rect, view);
}

/// Makes [`paint`] possible on this card. Without it pictures stay blank.
pub fn install(state: &egui_wgpu::RenderState) {
    gpu::install(state, FrameRenderer::new(&state.device, state.target_format));
}

struct FrameView {
    id: u64,
    rect: Rect,
    radius: f32,
    a: Shot,
    b: Shot,
    blend: Blend,
}

struct Uploaded {
    /// Held so that the address that names the clip is not given to another one.
    _clip: Clip,
    view: wgpu::TextureView,
    last_used: u64,
}

struct FrameRenderer {
    pipeline: wgpu::RenderPipeline,
    layout: wgpu::BindGroupLayout,
    sampler: wgpu::Sampler,
    linear_target: bool,
    clips: HashMap<usize, Uploaded>,
    views: HashMap<u64, wgpu::BindGroup>,
    clock: u64,
}

impl FrameRenderer {
    fn new(device: &wgpu::Device, format: wgpu::TextureFormat) -> Self {
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("frame"),
            source: wgpu::ShaderSource::Wgsl(include_str!("../../../shaders/frame.wgsl").into()),
        });
        let texture = |binding| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::FRAGMENT,
            ty: wgpu::BindingType::Texture {
                sample_type: wgpu::TextureSampleType::Float { filterable: true },
                view_dimension: wgpu::TextureViewDimension::D2Array,
                multisampled: false,
            },
            count: None,
        };
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("frame"),
            entries: &[
                gpu::uniform_entry(wgpu::ShaderStages::FRAGMENT),
                texture(1),
                texture(2),
                wgpu::BindGroupLayoutEntry {
                    binding: 3,
                    visibility: wgpu::ShaderStages::FRAGMENT,
                    ty: wgpu::BindingType::Sampler(wgpu::SamplerBindingType::Filtering),
                    count: None,
                },
            ],
        });
        let pipeline = gpu::pipeline(device, "frame", &module, &layout, &[], format);
        let sampler = device.create_sampler(&wgpu::SamplerDescriptor {
            label: Some("frame"),
            mag_filter: wgpu::FilterMode::Linear,
            min_filter: wgpu::FilterMode::Linear,
            ..Default::default()
        });
        Self {
            pipeline,
            layout,
            sampler,
            linear_target: format.is_srgb(),
            clips: HashMap::new(),
            views: HashMap::new(),
            clock: 0,
        }
    }

    /// The uniform block of the shader, word by word.
    fn settings(&self, view: &FrameView, pixels_per_point: f32) -> [u32; 12] {
        let rect = view.rect * pixels_per_point;
        let (mode, split, gain) = match view.blend {
            Blend::Single => (0, 1.0, 1.0),
            Blend::Wipe(split) => (1, split, 1.0),
            Blend::Difference(gain) => (2, 1.0, gain),
        };
        let f = f32::to_bits;
        [
            f(rect.min.x),
            f(rect.min.y),
            f(rect.width()),
            f(rect.height()),
            f(split),
            f(view.radius * pixels_per_point),
            f(gain),
            f(if self.linear_target { 1.0 } else { 0.0 }),
            mode,
            view.a.frame as u32,
            view.b.frame as u32,
            0,
        ]
    }

    fn upload(
        &mut self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        clip: &Clip,
    ) -> wgpu::TextureView {
        let name = Arc::as_ptr(clip) as usize;
        let clock = self.clock;
        let uploaded = self.clips.entry(name).or_insert_with(|| Uploaded {
            _clip: clip.clone(),
            view: upload_clip(device, queue, clip),
            last_used: clock,
        });
        uploaded.last_used = clock;
        uploaded.view.clone()
    }

    fn forget_old(&mut self) {
        while self.clips.len() > CLIPS_KEPT {
            let oldest = self.clips.iter().min_by_key(|(_, clip)| clip.last_used);
            let Some((&name, _)) = oldest else { return };
            self.clips.remove(&name);
        }
    }
}

impl Renderer for FrameRenderer {
    type Drawable = FrameView;

    fn prepare(
        &mut self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        view: &FrameView,
        pixels_per_point: f32,
    ) {
        self.clock += 1;
        let [a, b] = [&view.a, &view.b].map(|shot| self.upload(device, queue, &shot.clip));
        self.forget_old();
        let uniform = gpu::uniform_buffer(device, queue, &self.settings(view, pixels_per_point));
        let bindings = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("frame"),
            layout: &self.layout,
            entries: &[
                wgpu::BindGroupEntry { binding: 0, resource: uniform.as_entire_binding() },
                wgpu::BindGroupEntry {
                    binding: 1,
                    resource: wgpu::BindingResource::TextureView(&a),
                },
                wgpu::BindGroupEntry {
                    binding: 2,
                    resource: wgpu::BindingResource::TextureView(&b),
                },
                wgpu::BindGroupEntry {
                    binding: 3,
                    resource: wgpu::BindingResource::Sampler(&self.sampler),
                },
            ],
        });
        self.views.insert(view.id, bindings);
    }

    fn draw(&self, view: &FrameView, pass: &mut wgpu::RenderPass<'static>) {
        let Some(bindings) = self.views.get(&view.id) else {
            return;
        };
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, bindings, &[]);
        pass.draw(0..3, 0..1);
    }
}

fn upload_clip(device: &wgpu::Device, queue: &wgpu::Queue, clip: &Clip) -> wgpu::TextureView {
    let (width, height) = clip.first().map_or((1, 1), |frame| frame.dimensions());
    let size = wgpu::Extent3d { width, height, depth_or_array_layers: clip.len() as u32 };
    let texture = device.create_texture(&wgpu::TextureDescriptor {
        label: Some("clip"),
        size,
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: wgpu::TextureFormat::Rgba8Unorm,
        usage: wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST,
        view_formats: &[],
    });
    let mut pixels = Vec::with_capacity((width * height * 4) as usize * clip.len());
    for frame in clip.iter() {
        for pixel in frame.pixels() {
            let [r, g, b] = pixel.0;
            pixels.extend_from_slice(&[r, g, b, u8::MAX]);
        }
    }
    queue.write_texture(
        texture.as_image_copy(),
        &pixels,
        wgpu::TexelCopyBufferLayout {
            offset: 0,
            bytes_per_row: Some(width * 4),
            rows_per_image: Some(height),
        },
        size,
    );
    texture.create_view(&wgpu::TextureViewDescriptor {
        dimension: Some(wgpu::TextureViewDimension::D2Array),
        ..Default::default()
    })
}
