#!/usr/bin/env bash
# A folder with everything a person needs to carry the studio to a talk: the binary, which holds
# the pack, the desktop entry, and the licences. The binary is linked against the C library of
# Debian 11, so that it starts on systems from 2020 on and not only on those as new as this one.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=$(sed -n '0,/^version = "\(.*\)"/s//\1/p' Cargo.toml)
out=${1:-videoworld-studio-$version-linux-x86_64}
sysroot=$HOME/.cache/videoworld-studio/debian-11

# package <path in the archive> <sha256>
fetch() {
  local file
  file=$sysroot/$(basename "$1")
  curl -fsSL --retry 3 -o "$file" "http://deb.debian.org/debian/pool/main/$1"
  sha256sum --check --quiet <<<"$2  $file"
  dpkg-deb -x "$file" "$sysroot"
}
if [[ ! -e $sysroot/made ]]; then
  rm -rf "$sysroot"
  mkdir -p "$sysroot"
  fetch g/glibc/libc6_2.31-13+deb11u11_amd64.deb \
    05f7264da867b37f4c5ce49266b558ea1e81e05a9464f623152fca70f3550282
  fetch g/glibc/libc6-dev_2.31-13+deb11u11_amd64.deb \
    e7f7b45d9c5cfcf37609f0b6efd3c645272c812144703af89dfd32218fcb0fd3
  fetch g/gcc-10/libgcc-s1_10.2.1-6_amd64.deb \
    e478f2709d8474165bb664de42e16950c391f30eaa55bc9b3573281d83a29daf
  # Links to places on the system itself are to stay in here.
  find "$sysroot" -type l -lname '/*' -printf '%p %l\n' | while read -r link to; do
    ln -sfn "$sysroot$to" "$link"
  done
  touch "$sysroot/made"
fi

# Only the program itself is linked so; every crate it is made of is the one of `cargo run`.
cargo rustc --release --locked -p videoworld-studio --bin videoworld-studio -- \
  -C link-arg="--sysroot=$sysroot" \
  -C link-arg="-B$sysroot/usr/lib/x86_64-linux-gnu" -C link-arg="-L$sysroot/lib/x86_64-linux-gnu"
mkdir -p "$out"
cp "${CARGO_TARGET_DIR:-target}/release/videoworld-studio" packaging/linux/videoworld-studio.desktop "$out/"
cp LICENSE-MIT LICENSE-APACHE README.md "$out/"
cp assets/fonts/*OFL.txt "$out/"
tar czf "$out.tar.gz" -C "$(dirname "$out")" "$(basename "$out")"
echo "$out.tar.gz"
