#!/usr/bin/env bash
# A folder with everything a person needs to carry the studio to a talk: the binary, which holds
# the pack, the desktop entry, and the licences.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=$(sed -n '0,/^version = "\(.*\)"/s//\1/p' Cargo.toml)
out=${1:-videoworld-studio-$version-linux-x86_64}
cargo build --release --locked
mkdir -p "$out"
cp "${CARGO_TARGET_DIR:-target}/release/videoworld-studio" packaging/linux/videoworld-studio.desktop "$out/"
cp LICENSE-MIT LICENSE-APACHE README.md "$out/"
cp assets/fonts/*OFL.txt "$out/"
tar czf "$out.tar.gz" "$out"
echo "$out.tar.gz"
