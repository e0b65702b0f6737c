#!/usr/bin/env bash
# The complete evaluation of projections and styles: "Results" in docs/evaluate-style.md.
#
#     bash docs/recipes/evaluation.sh faces128-val.zip portraits/ evaluation
#
# Arguments: a zip of aligned held-out photos, a folder of whole portraits, the output folder. A
# stopped run is resumed from its files. It takes some hours on two cores; timings are comparable
# only on an otherwise idle machine.
set -euo pipefail

photos=$1 portraits=$2 folder=$3
recipes=$(dirname "$0")
looks="noir golden-hour pastel" drawn="toon-head personas"
mkdir -p "$folder"

[ -f "$folder/images/people.zip" ] ||
  python "$recipes/evaluation_images.py" "$photos" --output "$folder/images"

for k in k1 k8; do
  for method in auto jojogan; do
    for name in $looks $drawn; do
      file=$folder/$method-$name-$k.pkl
      [ -f "$file" ] || stylemix adapt "$folder/images/$name-$k.zip" --no-align \
        --method $method --output "$file"
    done
  done
done

# Comparison of projection methods, with the first of these styles.
methods=() && for m in fast balanced w w+ pti; do methods+=(--method "$m"); done
people=(--source "$folder/images/people.zip" --source "$portraits")
evaluate() { # evaluate OUTPUT METHOD K METHOD-OPTIONS...: five styles at once
  local output=$1 method=$2 k=$3 styles=() images=()
  shift 3
  for name in $looks $drawn; do
    styles+=(--style "$folder/$method-$name-$k.pkl")
    images+=(--images "$method-$name-$k=$folder/images/$name-held.zip")
  done
  stylemix evaluate-style "${people[@]}" "${styles[@]}" "${images[@]}" "$@" --output "$output"
}
evaluate "$folder/projections" auto k8 "${methods[@]}"
for k in k1 k8; do
  for method in auto jojogan; do
    # All methods share the latents of the preset "balanced".
    mkdir -p "$folder/$method-$k"
    [ -e "$folder/$method-$k/balanced" ] || cp -r "$folder/projections/balanced" "$folder/$method-$k/"
    evaluate "$folder/$method-$k" $method $k --method balanced
  done
done
