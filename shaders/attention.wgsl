// Attention that never holds its scores. A workgroup walks over all keys with 64 queries, 64 keys at
// a time, and keeps for every query the highest score so far, the sum of the weights and the sum of
// the weighted values, all in single precision (Dao et al. 2022, FlashAttention).
//
// User: engine/src/kernels/attention.rs, which writes these lines anew for the tensors at hand.
alias Number = f32;
const QUERY_COUNT = 512u;
const KEY_COUNT = 512u;
const HEAD_DIM = 128u;

// [heads, tokens, HEAD_DIM] each. Written or not, all are bound alike: burn lays tensors into common
// buffers, and a buffer must not be bound in two ways at once.
@group(0) @binding(0) var<storage, read_write> queries: array<vec4<Number>>;
@group(0) @binding(1) var<storage, read_write> keys: array<vec4<Number>>;
@group(0) @binding(2) var<storage, read_write> values: array<vec4<Number>>;
@group(0) @binding(3) var<storage, read_write> mixed: array<vec4<Number>>;
// How many workgroups of a head ran before: a long clip's are launched a few at a time.
@group(0) @binding(4) var<storage, read_write> workgroups_before: u32;

// Threads stand in a square. Each has four queries in a row; and every 16th key, four in all, or
// every 16th group of four channels, two at most.
const SIDE = 16u;
const QUERIES = 4u * SIDE;
const KEYS = 4u * SIDE;
// Groups of four channels: of a head, and of those whose products are added up at a time.
const GROUPS = HEAD_DIM / 4u;
const STRIP = 8u;
// Keys whose values are held at a time: as many numbers as a strip of 64 keys has.
const HELD = 16u;
const LOWEST = -3e38;

// 32 kB in all.
var<workgroup> query_strip: array<vec4<f32>, 512>;
var<workgroup> key_strip: array<vec4<f32>, 512>;
// Of every key, the weights for four queries in a row.
var<workgroup> weights: array<vec4<f32>, 1024>;

// Where a group of channels lies in a strip: rows that follow each other lie in different banks.
fn in_strip(row: u32, group: u32) -> u32 {
    return row * STRIP + (group ^ (row % STRIP));
}

fn in_weights(key: u32, four: u32) -> u32 {
    return key * SIDE + (four ^ (key % SIDE));
}

fn query_at(row: u32, group: u32) -> vec4<f32> {
    return query_strip[in_strip(row, group)];
}

// Of a thread's key `j`, and a group of channels, the products with four queries.
fn products(j: u32, x: u32, group: u32, four_queries: mat4x4<f32>) -> vec4<f32> {
    return key_strip[in_strip(x + j * SIDE, group)] * four_queries;
}

// A score where the key exists.
fn of_key(key: u32, score: vec4<f32>) -> vec4<f32> {
    return select(vec4(LOWEST), score, key < KEY_COUNT);
}

// One column a query.
fn scaled(sum: mat4x4<f32>, by: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(sum[0] * by.x, sum[1] * by.y, sum[2] * by.z, sum[3] * by.w);
}

fn weighted(value: vec4<f32>, weight: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(value * weight.x, value * weight.y, value * weight.z, value * weight.w);
}

fn write(sum: mat4x4<f32>, head: u32, query: u32, group: u32) {
    if group >= GROUPS {
        return;
    }
    let at = (head * QUERY_COUNT + query) * GROUPS + group;
    if query < QUERY_COUNT { mixed[at] = vec4<Number>(sum[0]); }
    if query + 1u < QUERY_COUNT { mixed[at + GROUPS] = vec4<Number>(sum[1]); }
    if query + 2u < QUERY_COUNT { mixed[at + 2u * GROUPS] = vec4<Number>(sum[2]); }
    if query + 3u < QUERY_COUNT { mixed[at + 3u * GROUPS] = vec4<Number>(sum[3]); }
}

@compute @workgroup_size(16, 16)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let head = workgroup.y;
    let first_query = (workgroups_before + workgroup.x) * QUERIES;
    // Exponentials are taken to the base of two, which is what cards compute.
    let scale = 1.4426950408889634 / sqrt(f32(HEAD_DIM));

    var highest = vec4(LOWEST);
    var weight_sum = vec4(0.0);
    // Of the thread's first group of channels, and of its second.
    var low = mat4x4<f32>();
    var high = mat4x4<f32>();

    for (var first_key = 0u; first_key < KEY_COUNT; first_key += KEYS) {
        // One column a key, one row a query.
        var scores = mat4x4<f32>();
        for (var strip = 0u; strip < GROUPS; strip += STRIP) {
            workgroupBarrier();
            for (var i = thread; i < QUERIES * STRIP; i += SIDE * SIDE) {
                let row = i / STRIP;
                let group = i % STRIP;
                let inside = strip + group < GROUPS;
                let query = first_query + row;
                let key = first_key + row;
                var q = vec4(0.0);
                var k = vec4(0.0);
                if inside && query < QUERY_COUNT {
                    q = vec4<f32>(queries[(head * QUERY_COUNT + query) * GROUPS + strip + group]);
                }
                if inside && key < KEY_COUNT {
                    k = vec4<f32>(keys[(head * KEY_COUNT + key) * GROUPS + strip + group]);
                }
                query_strip[in_strip(row, group)] = q * scale;
                key_strip[in_strip(row, group)] = k;
            }
            workgroupBarrier();
            for (var group = 0u; group < STRIP; group++) {
                let row = 4u * local.y;
                let q = mat4x4(
                    query_at(row, group),
                    query_at(row + 1u, group),
                    query_at(row + 2u, group),
                    query_at(row + 3u, group),
                );
                scores += mat4x4(
                    products(0u, local.x, group, q),
                    products(1u, local.x, group, q),
                    products(2u, local.x, group, q),
                    products(3u, local.x, group, q),
                );
            }
        }
        let key = first_key + local.x;
        scores = mat4x4(
            of_key(key, scores[0]),
            of_key(key + SIDE, scores[1]),
            of_key(key + 2u * SIDE, scores[2]),
            of_key(key + 3u * SIDE, scores[3]),
        );

        // The highest score of every query, through the memory of the strips.
        workgroupBarrier();
        query_strip[local.y * SIDE + local.x] =
            max(max(scores[0], scores[1]), max(scores[2], scores[3]));
        workgroupBarrier();
        var higher = highest;
        for (var i = 0u; i < SIDE; i++) {
            higher = max(higher, query_strip[local.y * SIDE + i]);
        }
        let kept = exp2(highest - higher);
        highest = higher;
        weight_sum *= kept;
        low = scaled(low, kept);
        high = scaled(high, kept);
        weights[in_weights(local.x, local.y)] = exp2(scores[0] - highest);
        weights[in_weights(local.x + SIDE, local.y)] = exp2(scores[1] - highest);
        weights[in_weights(local.x + 2u * SIDE, local.y)] = exp2(scores[2] - highest);
        weights[in_weights(local.x + 3u * SIDE, local.y)] = exp2(scores[3] - highest);

        for (var held = 0u; held < KEYS; held += HELD) {
            workgroupBarrier();
            for (var i = thread; i < HELD * GROUPS; i += SIDE * SIDE) {
                let key = first_key + held + i / GROUPS;
                var v = vec4(0.0);
                if key < KEY_COUNT {
                    v = vec4<f32>(values[(head * KEY_COUNT + key) * GROUPS + i % GROUPS]);
                }
                key_strip[i] = v;
            }
            workgroupBarrier();
            for (var key = 0u; key < HELD; key++) {
                let weight = weights[in_weights(held + key, local.y)];
                weight_sum += weight;
                low += weighted(key_strip[key * GROUPS + min(local.x, GROUPS - 1u)], weight);
                if GROUPS > SIDE {
                    let group = min(local.x + SIDE, GROUPS - 1u);
                    high += weighted(key_strip[key * GROUPS + group], weight);
                }
            }
        }
    }

    let query = first_query + 4u * local.y;
    write(scaled(low, 1.0 / weight_sum), head, query, local.x);
    write(scaled(high, 1.0 / weight_sum), head, query, local.x + SIDE);
}
