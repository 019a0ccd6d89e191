#!/usr/bin/env bash
# Tests the kernels on matrix units, which software Vulkan plays since Mesa 25.2: in a small Debian of
# its own, made once, as the machine's Mesa may be older. Needs root for it. Not part of .ci/run.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$HOME/.cache/videoworld-studio/target}"
root="${MESA_ROOT:-$HOME/.cache/videoworld-studio/mesa}"

if [[ ! -e $root/made ]]; then
  rm -rf "$root"
  command -v debootstrap >/dev/null || apt-get install -y -qq debootstrap
  debootstrap --variant=minbase trixie "$root" http://deb.debian.org/debian
  echo 'deb http://deb.debian.org/debian trixie-backports main' >>"$root/etc/apt/sources.list"
  cp /etc/resolv.conf "$root/etc/"
  # A mirror may be older than its lists say they hold for.
  chroot "$root" apt-get -qq -o Acquire::Check-Valid-Until=false update
  chroot "$root" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    -t trixie-backports mesa-vulkan-drivers libvulkan1
  touch "$root/made"
fi

# Paths of the test programs, from cargo's own account of what it built.
programs() {
  cargo test --release --workspace --locked --no-run --message-format=json "$@" |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p'
}
inside() {
  chroot "$root" env HOME=/root XDG_RUNTIME_DIR=/tmp VIDEOWORLD_MATRIX_UNITS=on "$@"
}

mkdir -p "$root/tests"
cp "$(programs --test kernels)" "$root/tests/kernels"
cp "$(programs --test parity)" "$root/tests/parity"
rm -rf "$root/tests/cases"
cp -r tests/fixtures/parity "$root/tests/cases"
printf '== kernels\n'
inside /tests/kernels --include-ignored --test-threads 1
printf '== golden tensors in half precision on matrix units\n'
inside PARITY_DIR=/tests/cases PARITY_DEVICE=vulkan PARITY_PRECISION=f16 /tests/parity
