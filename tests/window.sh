#!/usr/bin/env bash
# A real window under Xvfb, driven by real input: choose a starting frame, step twice, and compare
# what is on the screen with what was there before.
set -euo pipefail
cd "$(dirname "$0")/.."
target="${CARGO_TARGET_DIR:-target}"
binary="$(cd "$target" && pwd)/release/videoworld-studio"
shots="${SHOTS:-$(mktemp -d)}"
mkdir -p "$shots"
home=$(mktemp -d)

xvfb-run -a -s '-screen 0 1600x1000x24' env HOME="$home" bash -euo pipefail -s "$binary" "$shots" <<'INNER'
binary=$1 shots=$2
"$binary" --device cpu >"$shots/log" 2>&1 &
studio=$!
trap 'kill $studio 2>/dev/null || true' EXIT

window=""
for _ in $(seq 120); do
  kill -0 $studio || { cat "$shots/log"; exit 1; }
  window=$(xdotool search --onlyvisible --name 'VideoWorld Studio' 2>/dev/null | tail -1) && [[ -n $window ]] && break
  sleep 0.5
done
[[ -n $window ]] || { echo "no window within a minute"; cat "$shots/log"; exit 1; }
xdotool windowsize "$window" 1600 1000 windowmove "$window" 0 0
# Without a window manager nothing gives the keyboard to the window.
xdotool windowfocus "$window"
sleep 8 # the pack loads and the gallery is painted
import -window root "$shots/1-gallery.png"

# The last picture of the first row; nothing is to be hovered over afterwards.
xdotool mousemove 1264 275 click 1
sleep 1
xdotool mousemove 800 990
sleep 4
import -window root "$shots/2-started.png"
for step in 1 2; do
  xdotool key n
  sleep "${STEP_SECONDS:-20}"
  import -window root "$shots/$((step + 2))-step$step.png"
done
kill -0 $studio || { echo "the studio died"; cat "$shots/log"; exit 1; }
kill $studio; wait $studio || true
INNER

# Each stage must have changed a good part of the picture, and none may be blank.
previous=""
for shot in "$shots"/[1-4]-*.png; do
  colours=$(identify -format %k "$shot")
  ((colours > 200)) || { echo "$shot is blank: $colours colours"; exit 1; }
  if [[ -n $previous ]]; then
    changed=$(compare -metric AE -fuzz 3% "$previous" "$shot" null: 2>&1 || true)
    changed=$(printf '%.0f' "${changed%% *}") # large counts come as 1.4e+06
    ((changed > 2000)) || { echo "$shot shows nothing new: $changed pixels changed"; exit 1; }
  fi
  previous=$shot
done
echo "four pictures in $shots"
