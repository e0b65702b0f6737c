#!/usr/bin/env bash
# The whole evaluation of projections and styles: the figures of "Results" in docs/evaluate-style.md.
#
#     bash docs/recipes/evaluation.sh faces128-val.zip portraits/ evaluation
#
# PHOTOS is a zip of aligned photos that no model was trained on, PORTRAITS a folder of whole photos.
# What a stopped run has made is used again by the next one. On two cores it takes some hours; for
# seconds that can be compared, leave the machine alone.
set -euo pipefail

photos=$1 portraits=$2 folder=$3
recipes=$(dirname "$0")
looks="noir golden-hour pastel" hands="toon-head personas"
mkdir -p "$folder"

[ -f "$folder/pictures/people.zip" ] ||
  python "$recipes/evaluation_pictures.py" "$photos" --output "$folder/pictures"

for k in k1 k8; do
  for method in auto jojogan; do
    for name in $looks $hands; do
      file=$folder/$method-$name-$k.pkl more=()
      # The shipped toon was learned from this very hand: beginning there would be no feat.
      [ "$method $name" != "auto toon-head" ] || more=(--start none)
      [ -f "$file" ] || stylemix adapt "$folder/pictures/$name-$k.zip" --no-align \
        --method $method "${more[@]}" --output "$file"
    done
  done
done

# Projections against each other, with the first ones of these styles.
methods=() && for m in fast balanced w w+ pti; do methods+=(--method "$m"); done
people=(--source "$folder/pictures/people.zip" --source "$portraits")
evaluate() { # evaluate OUTPUT METHOD K METHOD-OPTIONS...: five styles at once
  local output=$1 method=$2 k=$3 styles=() pictures=()
  shift 3
  for name in $looks $hands; do
    styles+=(--style "$folder/$method-$name-$k.pkl")
    pictures+=(--images "$method-$name-$k=$folder/pictures/$name-held.zip")
  done
  stylemix evaluate-style "${people[@]}" "${styles[@]}" "${pictures[@]}" "$@" --output "$output"
}
evaluate "$folder/projections" auto k8 "${methods[@]}"
for k in k1 k8; do
  for method in auto jojogan; do
    # The same latents for all: those of the preset "balanced".
    mkdir -p "$folder/$method-$k"
    [ -e "$folder/$method-$k/balanced" ] || cp -r "$folder/projections/balanced" "$folder/$method-$k/"
    evaluate "$folder/$method-$k" $method $k --method balanced
  done
done
