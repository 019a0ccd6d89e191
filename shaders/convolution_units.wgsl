// A convolution over pictures, stride one and as many zeros around as keep their size, on the matrix
// units of a card: a product of the weights with what lies under them at every pixel, which is
// gathered on the way and never held. Products are of halves, sums in single precision. A workgroup
// has 8 * EDGE outputs of as many pixels, as four subgroups with a quarter each, and walks along
// inputs and taps, 32 at a time.
//
// User: engine/src/kernels/convolution.rs, which writes these lines anew for the tensors and the card
// at hand; {i} and {j} as in product_units.wgsl.
enable f16;
enable wgpu_cooperative_matrix;

const OUTPUTS = 512u;
const INPUTS = 512u;
const HEIGHT = 512u;
const WIDTH = 512u;
const KERNEL_HEIGHT = 3u;
const KERNEL_WIDTH = 3u;
// Rows and columns of the matrices that the card multiplies, and threads of its subgroups.
const EDGE = 16u;
const LANES = 32u;
alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sum = coop_mat16x16<f32, C>;

const TAPS = KERNEL_HEIGHT * KERNEL_WIDTH;
const DEPTH = INPUTS * TAPS;
const PIXELS = HEIGHT * WIDTH;

// [OUTPUTS, DEPTH] in groups of four; [pictures, INPUTS, PIXELS]; [pictures, OUTPUTS, PIXELS] in
// groups of four.
@group(0) @binding(0) var<storage, read_write> kernels: array<vec4<f16>>;
@group(0) @binding(1) var<storage, read_write> pictures: array<f32>;
@group(0) @binding(2) var<storage, read_write> convolved: array<vec4<f32>>;

const SIDE = 8u * EDGE;
const STRIP = 32u;
const THREADS = 4u * LANES;

// Memory is counted in groups of four numbers, and rows are a little longer than what they hold, so
// that those that follow each other lie in different banks.
const TILE = EDGE / 4u;
const LEFT_GROUPS = STRIP / 4u;
const LEFT_ROW = LEFT_GROUPS + 2u;
const RIGHT_GROUPS = SIDE / 4u;
const RIGHT_ROW = RIGHT_GROUPS + 2u;
const SUM_ROW = TILE + 1u;

// 24 kB in all.
var<workgroup> lefts: array<vec4<f16>, SIDE * LEFT_ROW>;
var<workgroup> rights: array<vec4<f16>, STRIP * RIGHT_ROW>;
// Of every subgroup, EDGE rows and columns.
var<workgroup> sums: array<vec4<f32>, 4u * EDGE * SUM_ROW>;

struct Place {
    picture: u32,
    // Of the workgroup among outputs and pixels, the latter in groups.
    row: u32,
    end_row: u32,
    column: u32,
    // Of the subgroup among the workgroup's four.
    down: u32,
    along: u32,
    thread: u32,
}

// Writes of all subgroups the `i`th of the four EDGE rows that each has, and of these the `j`th of the
// four EDGE columns.
fn write(sum: Sum, i: u32, j: u32, place: Place) {
    workgroupBarrier();
    coopStoreT(sum, &sums[(2u * place.down + place.along) * EDGE * SUM_ROW], SUM_ROW);
    workgroupBarrier();
    for (var at = place.thread; at < 4u * EDGE * TILE; at += THREADS) {
        let sum_row = at / TILE;
        let subgroup = sum_row / EDGE;
        let row = place.row + (subgroup / 2u * 4u + i) * EDGE + sum_row % EDGE;
        let column = place.column + (subgroup % 2u * 4u + j) * TILE + at % TILE;
        if row < place.end_row && column < PIXELS / 4u {
            let pixel = (place.picture * OUTPUTS + row) * (PIXELS / 4u) + column;
            convolved[pixel] = sums[sum_row * SUM_ROW + at % TILE];
        }
    }
}

// What is too large for a half becomes the largest one: without an end it would spoil all it meets.
fn pixel(there: bool, at: u32) -> f16 {
    if !there {
        return 0.0h;
    }
    return f16(clamp(pictures[at], -65504.0, 65504.0));
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(subgroup_id) subgroup_id: u32,
    @builtin(subgroup_invocation_id) lane: u32,
    @builtin(subgroup_size) lanes: u32,
) {
    let subgroup = min(subgroup_id, 3u);
    let thread = subgroup * LANES + lane;
    let place = Place(
        workgroup.z,
        workgroup.y * SIDE,
        // Subgroups of another size than was asked for, which is the driver's to choose, compute
        // nonsense: nothing is written.
        select(0u, OUTPUTS, lanes == LANES),
        workgroup.x * RIGHT_GROUPS,
        subgroup / 2u,
        subgroup % 2u,
        thread,
    );
    // A thread gathers for the same four pixels of a row throughout.
    let own_group = thread % RIGHT_GROUPS;
    let own_y = 4u * (place.column + own_group) / WIDTH;
    let own_x = 4u * (place.column + own_group) % WIDTH;
    var sum_{i}_{j} = Sum();

    for (var strip = 0u; strip < DEPTH; strip += STRIP) {
        workgroupBarrier();
        for (var i = thread; i < SIDE * LEFT_GROUPS; i += THREADS) {
            let row = place.row + i / LEFT_GROUPS;
            let group = strip / 4u + i % LEFT_GROUPS;
            var four = vec4<f16>();
            if row < OUTPUTS && group < DEPTH / 4u {
                four = kernels[row * (DEPTH / 4u) + group];
            }
            lefts[i / LEFT_GROUPS * LEFT_ROW + i % LEFT_GROUPS] = four;
        }
        for (var row = thread / RIGHT_GROUPS; row < STRIP; row += THREADS / RIGHT_GROUPS) {
            let tap = (strip + row) % TAPS;
            let input = (strip + row) / TAPS;
            // Wrapped around where it is above or left of the picture.
            let y = own_y + tap / KERNEL_WIDTH - KERNEL_HEIGHT / 2u;
            let x = own_x + tap % KERNEL_WIDTH - KERNEL_WIDTH / 2u;
            let there = input < INPUTS && own_y < HEIGHT && y < HEIGHT;
            let at = ((place.picture * INPUTS + input) * HEIGHT + y) * WIDTH + x;
            rights[row * RIGHT_ROW + own_group] = vec4(
                pixel(there && x < WIDTH, at),
                pixel(there && x + 1u < WIDTH, at + 1u),
                pixel(there && x + 2u < WIDTH, at + 2u),
                pixel(there && x + 3u < WIDTH, at + 3u),
            );
        }
        workgroupBarrier();
        for (var inner = 0u; inner < STRIP / EDGE; inner++) {
            let row = place.down * 4u * EDGE * LEFT_ROW + inner * TILE;
            let column = inner * EDGE * RIGHT_ROW + place.along * 4u * TILE;
            let left_{i} = coopLoadT<Left>(&lefts[row + {i}u * EDGE * LEFT_ROW], LEFT_ROW);
            let right_{j} = coopLoadT<Right>(&rights[column + {j}u * TILE], RIGHT_ROW);
            sum_{i}_{j} = coopMultiplyAdd(left_{i}, right_{j}, sum_{i}_{j});
        }
    }
    write(sum_{i}_{j}, {i}u, {j}u, place);
}
