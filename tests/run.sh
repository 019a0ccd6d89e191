#!/usr/bin/env bash
# Installs what the tests need where it may, then runs everything. One profile throughout, so the
# program and its tests share every compiled crate. The feature `remote` alone is left out: it has
# crates of its own and builds burn once more, over 18 minutes of processor time; tests/remote.sh
# tests it.
set -euo pipefail
cd "$(dirname "$0")/.."

stage() { printf '\n== %s (%ss)\n' "$1" "$SECONDS"; }

needed=(mesa-vulkan-drivers libvulkan1 xvfb xdotool imagemagick libxkbcommon-x11-0)
missing=()
if command -v dpkg-query >/dev/null; then
  for package in "${needed[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok' || missing+=("$package")
  done
fi
if ((${#missing[@]})); then
  stage "install ${missing[*]}"
  sudo=(); [[ $(id -u) == 0 ]] || sudo=(sudo)
  "${sudo[@]}" apt-get update -qq
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}"
fi

# Software Vulkan complains at every start where a login would have set it.
if [[ -z ${XDG_RUNTIME_DIR:-} ]]; then
  XDG_RUNTIME_DIR=$(mktemp -d)
  export XDG_RUNTIME_DIR
  trap 'rm -rf "$XDG_RUNTIME_DIR"' EXIT
fi

stage "format"
cargo fmt --all --check
stage "clippy"
cargo clippy --release --workspace --all-targets --locked -- -D warnings
stage "docs"
RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps --document-private-items --locked
stage "build"
cargo build --release --workspace --locked
stage "tests"
cargo test --release --workspace --locked
stage "golden tensors on Vulkan"
PARITY_DEVICE=vulkan cargo test --release --workspace --test parity --locked
stage "the same in half precision"
PARITY_DEVICE=vulkan PARITY_PRECISION=f16 cargo test --release --workspace --test parity --locked
stage "a real window"
tests/window.sh
stage "a machine without a display"
tests/headless.sh
stage "done"
