#!/usr/bin/env bash
# Makes the pictures of the documentation again: drives the demo through every page, without a display, in both themes,
# and keeps those that the documents show. `docs/screenshots.sh FOLDER` keeps all pictures, for looking at them.
# SIZE=1920x1080 and QT_SCALE_FACTOR=2 as wanted. Leave the machine alone meanwhile: speeds are measured.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
fettle=build/release/app/fettle
[[ -x $fettle ]] || { echo "$fettle is missing: ./run builds it" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export QT_QPA_PLATFORM=offscreen HOME=$work XDG_CONFIG_HOME=$work/config XDG_DATA_HOME=$work/data
for theme in light dark; do
    "$fettle" --screenshot "$work/$theme" --db "$work/$theme.db" --size "${SIZE:-1280x800}" --theme "$theme"
done
if [[ $# -gt 0 ]]; then
    mkdir -p "$1"
    cp -r "$work/light" "$work/dark" "$1"
    exit
fi
take() { # THEME PAGE NAME
    cp "$work/$1"/*-"$2".png "docs/screenshot-$3.png"
}
take light explore explore
take light recipe recipe
take light compare compare
take light inspect-graph graph
take light advisor advisor
take light playground playground
take light precision precision
take dark explore dark
