#!/usr/bin/env bash
# The packaged program on another Linux: a bare Debian 11 made for it, with an older C library and
# without display, card, Rust or any library of ours. It must do its headless job there. Needs root
# and 300 MB; not part of .ci/run.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$HOME/.cache/videoworld-studio/target}"
root=$HOME/.cache/videoworld-studio/elsewhere
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

if [[ ! -e $root/made ]]; then
  rm -rf "$root"
  command -v debootstrap >/dev/null || apt-get install -y -qq debootstrap
  debootstrap --variant=minbase bullseye "$root" http://deb.debian.org/debian
  touch "$root/made"
fi

packaging/linux/package.sh "$out/studio"
rm -rf "$root/studio" "$root/work"
tar xzf "$out/studio.tar.gz" -C "$root"
mkdir "$root/work"
inside() { chroot "$root" env -i -C /work PATH=/usr/bin:/bin HOME=/work "$@"; }
inside ldd /studio/videoworld-studio
inside /studio/videoworld-studio info
inside /studio/videoworld-studio | tee "$out/said"
grep -qi 'no display' "$out/said"
for kind in png gif json; do
  find "$root/work" -name "*.$kind" -size +100c -print -quit | grep -q . || { echo "no .$kind was written"; exit 1; }
done
find "$root/work" -maxdepth 2 | sort
