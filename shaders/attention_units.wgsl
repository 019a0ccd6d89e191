// Attention that never holds its scores, on the matrix units of a card. As in attention.wgsl a
// workgroup walks over all keys with 64 queries; here 32 keys at a time, and each of its subgroups
// multiplies the rows of EDGE queries with them. Products are of halves, sums in single precision.
//
// User: engine/src/kernels/attention.rs, which writes these lines anew for the tensors and the card at
// hand: a line with {d} stands for as many lines, one for each EDGE channels of a head.
enable f16;
enable wgpu_cooperative_matrix;

const QUERY_COUNT = 512u;
const KEY_COUNT = 512u;
const HEAD_DIM = 128u;
// Rows and columns of the matrices that the card multiplies, and threads of its subgroups.
const EDGE = 16u;
const LANES = 32u;
alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sum = coop_mat16x16<f32, C>;

// [heads, tokens, HEAD_DIM] each, all bound alike as in attention.wgsl.
@group(0) @binding(0) var<storage, read_write> queries: array<vec4<f16>>;
@group(0) @binding(1) var<storage, read_write> keys: array<vec4<f16>>;
@group(0) @binding(2) var<storage, read_write> values: array<vec4<f16>>;
@group(0) @binding(3) var<storage, read_write> mixed: array<vec4<f16>>;
@group(0) @binding(4) var<storage, read_write> workgroups_before: u32;

const QUERIES = 64u;
const KEYS = 32u;
const THREADS = QUERIES / EDGE * LANES;
// Threads that share a query, and queries that a thread has a share of.
const THREADS_OF_ROW = max(THREADS / QUERIES, 2u);
const ROWS_OF_THREAD = QUERIES * THREADS_OF_ROW / THREADS;

// Memory is counted in groups of four numbers. Rows are a little longer than what they hold, so that
// those that follow each other lie in different banks.
const GROUPS = HEAD_DIM / 4u;
const GROUP_ROW = GROUPS + 2u;
const SCORE_ROW = KEYS / 4u + 1u;
const WEIGHT_ROW = KEYS / 4u + 2u;
const TILE = EDGE / 4u;

// 32 kB in all. Of the queries at first, then of keys and behind them their values.
var<workgroup> tokens: array<vec4<f16>, QUERIES * GROUP_ROW>;
var<workgroup> scores: array<vec4<f32>, QUERIES * SCORE_ROW>;
var<workgroup> weights: array<vec4<f16>, QUERIES * WEIGHT_ROW>;
// What the sum of each query is multiplied with.
var<workgroup> factors: array<f32, QUERIES>;
var<workgroup> any_higher: u32;

// A query's weights are powers of two above a score of it, which follows the highest one so far when
// that has risen by more than this. Halves hold the weights all the same, and sums, which no thread
// can see as long as the matrix units have them, are hardly ever scaled.
const MAX_RISE = 8.0;
const LOWEST = -3e38;

// The sums after the rows went through memory, each multiplied with its factor.
fn scaled(sum: Sum, subgroup: u32, thread: u32) -> Sum {
    let at = subgroup * EDGE * SCORE_ROW;
    workgroupBarrier();
    coopStoreT(sum, &scores[at], SCORE_ROW);
    workgroupBarrier();
    for (var i = thread; i < QUERIES * TILE; i += THREADS) {
        scores[i / TILE * SCORE_ROW + i % TILE] *= factors[i / TILE];
    }
    workgroupBarrier();
    return coopLoadT<Sum>(&scores[at], SCORE_ROW);
}

fn write(sum: Sum, d: u32, subgroup: u32, thread: u32, first_row: u32, rows: u32) {
    workgroupBarrier();
    coopStoreT(sum, &scores[subgroup * EDGE * SCORE_ROW], SCORE_ROW);
    workgroupBarrier();
    for (var i = thread; i < rows * TILE; i += THREADS) {
        let row = i / TILE;
        let sums = scores[row * SCORE_ROW + i % TILE] * factors[row];
        mixed[(first_row + row) * GROUPS + d * TILE + i % TILE] = vec4<f16>(sums);
    }
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(subgroup_id) subgroup_id: u32,
    @builtin(subgroup_invocation_id) lane: u32,
    @builtin(subgroup_size) lanes: u32,
) {
    let subgroup = min(subgroup_id, QUERIES / EDGE - 1u);
    let thread = subgroup * LANES + lane;
    let head = workgroup.y;
    let first_query = (workgroups_before + workgroup.x) * QUERIES;
    let rows = min(QUERIES, QUERY_COUNT - first_query);
    // Exponentials are taken to the base of two, which is what cards compute.
    let scale = 1.4426950408889634 / sqrt(f32(HEAD_DIM));

    for (var i = thread; i < QUERIES * GROUPS; i += THREADS) {
        let row = i / GROUPS;
        var q = vec4<f16>();
        if row < rows {
            q = queries[(head * QUERY_COUNT + first_query) * GROUPS + i];
        }
        tokens[row * GROUP_ROW + i % GROUPS] = q;
    }
    workgroupBarrier();
    let own = subgroup * EDGE;
    let query_{d} = coopLoadT<Left>(&tokens[own * GROUP_ROW + {d}u * TILE], GROUP_ROW);
    var mixed_{d} = Sum();

    // Of the rows of a thread: the score that the weights are above, and the sum of those it saw.
    var base: array<f32, ROWS_OF_THREAD>;
    var weight_sum: array<f32, ROWS_OF_THREAD>;
    for (var r = 0u; r < ROWS_OF_THREAD; r++) {
        base[r] = LOWEST;
    }
    let part = thread % THREADS_OF_ROW;

    for (var first_key = 0u; first_key < KEY_COUNT; first_key += KEYS) {
        workgroupBarrier();
        any_higher = 0u;
        for (var i = thread; i < KEYS * GROUPS; i += THREADS) {
            let row = i / GROUPS;
            var k = vec4<f16>();
            var v = vec4<f16>();
            if first_key + row < KEY_COUNT {
                let at = (head * KEY_COUNT + first_key) * GROUPS + i;
                k = keys[at];
                v = values[at];
            }
            tokens[row * GROUP_ROW + i % GROUPS] = k;
            tokens[(KEYS + row) * GROUP_ROW + i % GROUPS] = v;
        }
        workgroupBarrier();
        for (var k = 0u; k < KEYS / EDGE; k++) {
            let at = k * EDGE * GROUP_ROW;
            var sum = Sum();
            sum = coopMultiplyAdd(query_{d}, coopLoad<Right>(&tokens[at + {d}u * TILE], GROUP_ROW), sum);
            coopStoreT(sum, &scores[own * SCORE_ROW + k * TILE], SCORE_ROW);
        }
        workgroupBarrier();

        for (var r = 0u; r < ROWS_OF_THREAD; r++) {
            let row = (thread + r * THREADS) / THREADS_OF_ROW;
            var highest = LOWEST;
            for (var i = part; i < KEYS / 4u; i += THREADS_OF_ROW) {
                let key = first_key + 4u * i + vec4(0u, 1u, 2u, 3u);
                let four = scores[row * SCORE_ROW + i];
                let seen = select(vec4(LOWEST), four, key < vec4(KEY_COUNT));
                highest = max(highest, max(max(seen.x, seen.y), max(seen.z, seen.w)));
            }
            for (var apart = 1u; apart < THREADS_OF_ROW; apart *= 2u) {
                highest = max(highest, subgroupShuffleXor(highest, apart));
            }
            highest *= scale;
            var factor = 1.0;
            if highest > base[r] + MAX_RISE {
                factor = exp2(base[r] - highest);
                base[r] = highest;
                any_higher = 1u;
            }
            if part == 0u {
                factors[row] = factor;
            }
            var all = vec4(0.0);
            for (var i = part; i < KEYS / 4u; i += THREADS_OF_ROW) {
                let key = first_key + 4u * i + vec4(0u, 1u, 2u, 3u);
                let above = scores[row * SCORE_ROW + i] * scale - base[r];
                let weight = vec4<f16>(select(vec4(0.0), exp2(above), key < vec4(KEY_COUNT)));
                weights[row * WEIGHT_ROW + i] = weight;
                all += vec4<f32>(weight);
            }
            weight_sum[r] = weight_sum[r] * factor + all.x + all.y + all.z + all.w;
        }
        if workgroupUniformLoad(&any_higher) != 0u {
            mixed_{d} = scaled(mixed_{d}, subgroup, thread);
        }
        for (var k = 0u; k < KEYS / EDGE; k++) {
            let weight = coopLoadT<Left>(&weights[own * WEIGHT_ROW + k * TILE], WEIGHT_ROW);
            let at = (KEYS + k * EDGE) * GROUP_ROW;
            mixed_{d} = coopMultiplyAdd(weight, coopLoadT<Right>(&tokens[at + {d}u * TILE], GROUP_ROW), mixed_{d});
        }
    }

    for (var r = 0u; r < ROWS_OF_THREAD; r++) {
        var sum = weight_sum[r];
        for (var apart = 1u; apart < THREADS_OF_ROW; apart *= 2u) {
            sum += subgroupShuffleXor(sum, apart);
        }
        if part == 0u {
            factors[(thread + r * THREADS) / THREADS_OF_ROW] = 1.0 / sum;
        }
    }
    // Subgroups of another size than was asked for, which is the driver's to choose, compute nonsense.
    let written = select(0u, rows, lanes == LANES);
    let first_row = head * QUERY_COUNT + first_query;
    write(mixed_{d}, {d}u, subgroup, thread, first_row, written);
}
