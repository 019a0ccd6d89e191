#!/usr/bin/env bash
# The first command of the README on a machine without display, card or home of its own: it must
# say so, write the rollout and exit with 0.
set -euo pipefail
cd "$(dirname "$0")/.."
binary="$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/release/videoworld-studio"
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
mkdir "$home/work"
(cd "$home/work" && env -i PATH=/usr/bin:/bin HOME="$home" "$binary" | tee "$home/said")
grep -qi 'no display' "$home/said"
for kind in png gif json; do
  find "$home" -name "*.$kind" -size +100c -print -quit | grep -q . || { echo "no .$kind was written"; exit 1; }
done
find "$home/work" -maxdepth 2 | sort
