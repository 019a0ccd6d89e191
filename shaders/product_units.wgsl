// A product of two matrices of halves, summed in single precision on the matrix units of a card. A
// workgroup has the product's 8 * EDGE rows and columns from one place on, as four subgroups with a
// quarter each, and walks along the depth, 32 numbers at a time.
//
// User: engine/src/kernels/product.rs, which writes these lines anew for the matrices and the card at
// hand: a line with {i} stands for four lines, one for each EDGE rows of a subgroup, and likewise a
// line with {j} for its columns.
enable f16;
enable wgpu_cooperative_matrix;

const ROWS = 512u;
const DEPTH = 512u;
const COLUMNS = 512u;
// Rows and columns of the matrices that the card multiplies, and threads of its subgroups.
const EDGE = 16u;
const LANES = 32u;
alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sum = coop_mat16x16<f32, C>;

// [ROWS, DEPTH], [DEPTH, COLUMNS] and [ROWS, COLUMNS], in groups of four numbers.
@group(0) @binding(0) var<storage, read_write> left: array<vec4<f16>>;
@group(0) @binding(1) var<storage, read_write> right: array<vec4<f16>>;
@group(0) @binding(2) var<storage, read_write> product: array<vec4<f16>>;

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
    // Of the workgroup in the product, the columns in groups.
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
        if row < place.end_row && column < COLUMNS / 4u {
            product[row * (COLUMNS / 4u) + column] = vec4<f16>(sums[sum_row * SUM_ROW + at % TILE]);
        }
    }
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
        workgroup.y * SIDE,
        // Subgroups of another size than was asked for, which is the driver's to choose, compute
        // nonsense: nothing is written.
        select(0u, ROWS, lanes == LANES),
        workgroup.x * RIGHT_GROUPS,
        subgroup / 2u,
        subgroup % 2u,
        thread,
    );
    var sum_{i}_{j} = Sum();

    for (var strip = 0u; strip < DEPTH; strip += STRIP) {
        workgroupBarrier();
        for (var i = thread; i < SIDE * LEFT_GROUPS; i += THREADS) {
            let row = place.row + i / LEFT_GROUPS;
            let group = strip / 4u + i % LEFT_GROUPS;
            var four = vec4<f16>();
            if row < ROWS && group < DEPTH / 4u {
                four = left[row * (DEPTH / 4u) + group];
            }
            lefts[i / LEFT_GROUPS * LEFT_ROW + i % LEFT_GROUPS] = four;
        }
        for (var i = thread; i < STRIP * RIGHT_GROUPS; i += THREADS) {
            let row = strip + i / RIGHT_GROUPS;
            let group = place.column + i % RIGHT_GROUPS;
            var four = vec4<f16>();
            if row < DEPTH && group < COLUMNS / 4u {
                four = right[row * (COLUMNS / 4u) + group];
            }
            rights[i / RIGHT_GROUPS * RIGHT_ROW + i % RIGHT_GROUPS] = four;
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
