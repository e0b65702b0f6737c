#!/usr/bin/env bash
# All that depends on the default model, made again for a new snapshot of it.
#
#     bash docs/recipes/new_default.sh SNAPSHOT CARD faces128-val.zip
#
# CARD is JSON for the model card. Writes into stylemix/assets: the model, directions and looks; and
# the sheet of docs/model-card.md. Drawn styles are students, which do not depend on the model.
# It takes five minutes on two cores. Afterwards the labels of train_attributes.py are of other faces
# (look at them again), and the figures and pictures of the pages are old: those of model-card,
# evaluate-style, edit, mix, drag and audit have their commands beside them.
set -euo pipefail

snapshot=$1 card=$2 held_out=$3
recipes=$(dirname "$0")
assets=$recipes/../../stylemix/assets
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python "$recipes/score_model.py" "$snapshot" --data "$held_out" --count 1337 --card "$card" \
  --output "$work/faces-64.safetensors" --sheet "$work/faces-64.png"
mv "$work/faces-64.safetensors" "$assets/faces-64.safetensors"
mv "$work/faces-64.png" "$recipes/../images/faces-64.png"
python "$recipes/ship_directions.py" --output "$assets/directions"
for look in golden-hour noir pastel; do
  strength=1
  [ $look != golden-hour ] || strength=1.5
  python "$recipes/look_images.py" --look $look --output "$work/$look.zip"
  stylemix adapt "$work/$look.zip" --method look --no-align --steps 150 --strength $strength \
    --name $look --license Apache-2.0 --credit stylemix --consent "generated faces, no persons" \
    --output "$work/$look.pkl"
  mv "$work/$look.pkl" "$assets/styles/"
done
