#!/usr/bin/env bash
# The feature `remote`, tested on the loopback address by a program without window and graphics card:
# both would be built once more with burn's changed features, and neither knows of other machines.
set -euo pipefail
cd "$(dirname "$0")/.."

features=(--no-default-features --features remote)
cargo build --release --locked -p videoworld-studio "${features[@]}"
cargo test --release --locked -p studio-tests "${features[@]}" --test remote -- --test-threads=1
