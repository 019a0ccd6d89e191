//! What the drawables share: their place in egui's frame, a pipeline that blends as egui does, and
//! one small uniform block.

use eframe::egui::{self, Rect};
use eframe::egui_wgpu::{self, CallbackResources, CallbackTrait, ScreenDescriptor};

/// Draws one kind of thing. One renderer serves all places of a window where that is drawn.
pub(super) trait Renderer: Send + Sync + Sized + 'static {
    /// What is drawn at one place.
    type Drawable: Send + Sync + 'static;

    /// Brings the drawable onto the card.
    fn prepare(
        &mut self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        drawable: &Self::Drawable,
        pixels_per_point: f32,
    );

    /// Draws what was prepared.
    fn draw(&self, drawable: &Self::Drawable, pass: &mut wgpu::RenderPass<'static>);
}

struct Callback<R: Renderer>(R::Drawable);

impl<R: Renderer> CallbackTrait for Callback<R> {
    fn prepare(
        &self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        screen: &ScreenDescriptor,
        _encoder: &mut wgpu::CommandEncoder,
        resources: &mut CallbackResources,
    ) -> Vec<wgpu::CommandBuffer> {
        if let Some(renderer) = resources.get_mut::<R>() {
            renderer.prepare(device, queue, &self.0, screen.pixels_per_point);
        }
        Vec::new()
    }

    fn paint(
        &self,
        _info: egui::PaintCallbackInfo,
        pass: &mut wgpu::RenderPass<'static>,
        resources: &CallbackResources,
    ) {
        if let Some(renderer) = resources.get::<R>() {
            renderer.draw(&self.0, pass);
        }
    }
}

/// Paints `drawable` into `rect` with the renderer that was installed; without one it stays blank.
pub(super) fn paint<R: Renderer>(ui: &egui::Ui, rect: Rect, drawable: R::Drawable) {
    let callback = Callback::<R>(drawable);
    ui.painter().add(egui_wgpu::Callback::new_paint_callback(rect, callback));
}

/// Makes [`paint`] possible on this card.
pub(super) fn install<R: Renderer>(state: &egui_wgpu::RenderState, renderer: R) {
    state.renderer.write().callback_resources.insert(renderer);
}

/// The uniform block of a drawable at binding 0.
pub(super) fn uniform_entry(visibility: wgpu::ShaderStages) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding: 0,
        visibility,
        ty: wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Uniform,
            has_dynamic_offset: false,
            min_binding_size: None,
        },
        count: None,
    }
}

/// Twelve words (three `vec4`) for the shader.
pub(super) fn uniform_buffer(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    words: &[u32; 12],
) -> wgpu::Buffer {
    let buffer = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("view"),
        size: size_of_val(words) as u64,
        usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    queue.write_buffer(&buffer, 0, bytemuck::cast_slice(words));
    buffer
}

/// A pipeline over the entry points `vertex` and `fragment`, with premultiplied alpha.
pub(super) fn pipeline(
    device: &wgpu::Device,
    label: &str,
    module: &wgpu::ShaderModule,
    layout: &wgpu::BindGroupLayout,
    buffers: &[Option<wgpu::VertexBufferLayout<'_>>],
    format: wgpu::TextureFormat,
) -> wgpu::RenderPipeline {
    let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(label),
        bind_group_layouts: &[Some(layout)],
        immediate_size: 0,
    });
    device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
        label: Some(label),
        layout: Some(&layout),
        vertex: wgpu::VertexState {
            module,
            entry_point: Some("vertex"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            buffers,
        },
        primitive: wgpu::PrimitiveState::default(),
        depth_stencil: None,
        multisample: wgpu::MultisampleState::default(),
        fragment: Some(wgpu::FragmentState {
            module,
            entry_point: Some("fragment"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            targets: &[Some(wgpu::ColorTargetState {
                format,
                blend: Some(wgpu::BlendState::PREMULTIPLIED_ALPHA_BLENDING),
                write_mask: wgpu::ColorWrites::ALL,
            })],
        }),
        multiview_mask: None,
        cache: None,
    })
}
