// The code map: one soft disc per point.
// User: app/src/widgets/scatter.rs

struct View {
    // Left, top, width and height of the plot on the screen, pixels.
    rect: vec4<f32>,
    // Pixels per map unit in x and y, then the map's origin in pixels from the plot's corner.
    transform: vec4<f32>,
    // Point radius in pixels, 1 where the target expects linear light.
    settings: vec4<f32>,
}

@group(0) @binding(0) var<uniform> view: View;

struct Point {
    @location(0) position: vec2<f32>,
    @location(1) colour: vec4<f32>,
}

struct Disc {
    @builtin(position) clip: vec4<f32>,
    @location(0) offset: vec2<f32>,
    @location(1) colour: vec4<f32>,
}

@vertex
fn vertex(@builtin(vertex_index) index: u32, point: Point) -> Disc {
    // Two triangles: corners 0 1 2 and 2 1 3 of a square around the point.
    var order = array<u32, 6>(0u, 1u, 2u, 2u, 1u, 3u);
    let corner = order[index];
    let side = vec2<f32>(f32(corner & 1u), f32(corner >> 1u)) * 2.0 - 1.0;
    let reach = view.settings.x + 1.0;
    let pixel = point.position * view.transform.xy + view.transform.zw + side * reach;
    let ndc = pixel / view.rect.zw * 2.0 - 1.0;
    var disc: Disc;
    disc.clip = vec4<f32>(ndc.x, -ndc.y, 0.0, 1.0);
    disc.offset = side * reach;
    disc.colour = point.colour;
    return disc;
}

fn linear_from_srgb(c: vec3<f32>) -> vec3<f32> {
    let low = c / 12.92;
    let high = pow((c + 0.055) / 1.055, vec3<f32>(2.4));
    return select(high, low, c <= vec3<f32>(0.04045));
}

@fragment
fn fragment(disc: Disc) -> @location(0) vec4<f32> {
    let edge = clamp(view.settings.x + 0.5 - length(disc.offset), 0.0, 1.0);
    let alpha = disc.colour.a * edge;
    var colour = disc.colour.rgb;
    if view.settings.y > 0.5 {
        colour = linear_from_srgb(colour);
    }
    return vec4<f32>(colour * alpha, alpha);
}
