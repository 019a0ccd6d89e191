// One or two frames on the stage: alone, with a wipe between them, or their difference.
// User: app/src/widgets/frame_view.rs

struct View {
    // Left, top, width and height of the picture on the screen, pixels.
    rect: vec4<f32>,
    // Where the wipe stands (0..1), corner radius in pixels, gain of the difference,
    // 1 where the target expects linear light.
    settings: vec4<f32>,
    // Mode (0 A, 1 wipe, 2 difference), layer of A, layer of B.
    choice: vec4<u32>,
}

@group(0) @binding(0) var<uniform> view: View;
@group(0) @binding(1) var frames_a: texture_2d_array<f32>;
@group(0) @binding(2) var frames_b: texture_2d_array<f32>;
@group(0) @binding(3) var smooth_sampler: sampler;

@vertex
fn vertex(@builtin(vertex_index) index: u32) -> @builtin(position) vec4<f32> {
    // One triangle that covers the viewport.
    let corner = vec2<f32>(f32((index << 1u) & 2u), f32(index & 2u));
    return vec4<f32>(corner * 2.0 - 1.0, 0.0, 1.0);
}

// Weights of the four neighbours for a fraction `f` between the middle two: the cubic filter of
// Mitchell and Netravali with B = C = 1/3, which shows less of the pixel grid than Catmull-Rom.
fn cubic_weights(f: f32) -> vec4<f32> {
    let f2 = f * f;
    let f3 = f2 * f;
    return vec4<f32>(
        1.0 - 9.0 * f + 15.0 * f2 - 7.0 * f3,
        16.0 - 36.0 * f2 + 21.0 * f3,
        1.0 + 9.0 * f + 27.0 * f2 - 21.0 * f3,
        7.0 * f3 - 6.0 * f2,
    ) / 18.0;
}

// Bicubic enlarging in nine linear taps: the middle two texels of each axis share one tap.
fn enlarged(frames: texture_2d_array<f32>, layer: u32, uv: vec2<f32>) -> vec3<f32> {
    let size = vec2<f32>(textureDimensions(frames));
    let at = uv * size;
    let base = floor(at - 0.5) + 0.5;
    let wx = cubic_weights(at.x - base.x);
    let wy = cubic_weights(at.y - base.y);
    let xs = vec3<f32>(base.x - 1.0, base.x + wx.z / (wx.y + wx.z), base.x + 2.0) / size.x;
    let ys = vec3<f32>(base.y - 1.0, base.y + wy.z / (wy.y + wy.z), base.y + 2.0) / size.y;
    let kx = vec3<f32>(wx.x, wx.y + wx.z, wx.w);
    let ky = vec3<f32>(wy.x, wy.y + wy.z, wy.w);
    var sum = vec3<f32>(0.0);
    for (var row = 0; row < 3; row++) {
        for (var column = 0; column < 3; column++) {
            let tap = vec2<f32>(xs[column], ys[row]);
            sum += kx[column] * ky[row]
                * textureSampleLevel(frames, smooth_sampler, tap, layer, 0.0).rgb;
        }
    }
    return clamp(sum, vec3<f32>(0.0), vec3<f32>(1.0));
}

fn linear_from_srgb(c: vec3<f32>) -> vec3<f32> {
    let low = c / 12.92;
    let high = pow((c + 0.055) / 1.055, vec3<f32>(2.4));
    return select(high, low, c <= vec3<f32>(0.04045));
}

// How much of the pixel lies inside the rounded rectangle.
fn coverage(p: vec2<f32>, size: vec2<f32>, radius: f32) -> f32 {
    let q = abs(p - size * 0.5) - (size * 0.5 - radius);
    let distance = length(max(q, vec2<f32>(0.0))) + min(max(q.x, q.y), 0.0) - radius;
    return clamp(0.5 - distance, 0.0, 1.0);
}

@fragment
fn fragment(@builtin(position) position: vec4<f32>) -> @location(0) vec4<f32> {
    let p = position.xy - view.rect.xy;
    let uv = p / view.rect.zw;
    var colour: vec3<f32>;
    if view.choice.x == 2u {
        let a = enlarged(frames_a, view.choice.y, uv);
        let b = enlarged(frames_b, view.choice.z, uv);
        colour = clamp(abs(a - b) * view.settings.z, vec3<f32>(0.0), vec3<f32>(1.0));
    } else if view.choice.x == 1u && uv.x > view.settings.x {
        colour = enlarged(frames_b, view.choice.z, uv);
    } else {
        colour = enlarged(frames_a, view.choice.y, uv);
    }
    if view.settings.w > 0.5 {
        colour = linear_from_srgb(colour);
    }
    let alpha = coverage(p, view.rect.zw, view.settings.y);
    return vec4<f32>(colour * alpha, alpha);
}
