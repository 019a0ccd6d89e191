#!/usr/bin/env bash
# The feature `remote`, tested on the loopback address by a program without window and graphics card:
# both would be built once more with burn's changed features, and neither knows of other machines.
set -euo pipefail
cd "$(dirname "$0")/.."

# Program and test in one command, so that they share every crate's features.
with=(--release --locked --workspace --no-default-features --features remote)
cargo build "${with[@]}" --bin videoworld-studio --test remote
cargo test "${with[@]}" --test remote -- --test-threads=1
