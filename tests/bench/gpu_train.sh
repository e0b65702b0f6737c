#!/usr/bin/env bash
# Trains faces of 128 px on a GPU that is there for minutes: goes on from what an earlier call left,
# stops by the clock with its state kept, and leaves all in few and small files.
#
#   DATA=faces.zip OUT=folder tests/bench/gpu_train.sh                the first call
#   DATA=faces.zip OUT=new STATE=folder tests/bench/gpu_train.sh      goes on, also on another machine
#   DATA="a.zip b.zip" VAL=val.zip OUT=folder tests/bench/gpu_train.sh --channel-base 8192
#   DRY=1 tests/bench/gpu_train.sh                                    the same at toy size on the CPU
#
# DATA is what `stylemix train` takes (several with spaces between), the same in every call; VAL is
# held out for the Frechet distance. Options are those of `stylemix train` and take the place of the
# recipe below. MINUTES (9) after the start the training ends, at SIGTERM earlier; the rest needs up
# to 45 s more. Where the run folder RUN (out/gpu-train) is still there, it goes on without STATE.
#
# In $OUT, whatever fails: run.tar (state and stats.jsonl), the snapshot (EMA, fp16), fakes.png,
# train.txt (log, then stats.jsonl) and summary.txt, as at most FILES (8) files of PART_BYTES
# (15 MiB), ALL_BYTES (63 MiB) together. What is larger comes in parts NAME.01-of-03, which
# `cat NAME.*` joins. A state that does not fit even so is left out, which summary.txt says; then the
# snapshot keeps its discriminator, where that fits, and a new run can --transfer from it.
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
python=${PYTHON:-python3}
export PYTHONPATH=$root PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

if [ -n "${DRY:-}" ]; then
  device=cpu minutes=${MINUTES:-0.5} part_bytes=${PART_BYTES:-400000}
  data=${DATA:-$root/docs/images} val=${VAL-$root/docs/images}
  fixed=(--resolution 16 --template faces128 --tick-kimg 0.064)
  recipe=(--preset laptop --channel-base 256 --channel-max 16 --z-dim 16 --w-dim 16 --batch 8)
else
  device=cuda minutes=${MINUTES:-9} part_bytes=${PART_BYTES:-$((15 << 20))}
  data=${DATA:-} val=${VAL:-}
  fixed=(--resolution 128 --template faces128)
  # The state is 16 bytes a weight of the generator and 12 of the discriminator: 54 MiB with these, and
  # 624 MiB with the automatic 16384, 512, 512 and 512. Photos are to be projected, so noise is fine
  # only. All else is automatic.
  recipe=(--mirror --noise fine --channel-base 4096 --channel-max 160 --z-dim 128 --w-dim 128)
fi
[ $# -eq 0 ] || recipe=("$@")
read -ra data <<<"$data"
[ ${#data[@]} -gt 0 ] || { echo "got no DATA; expected a zip or folder of faces" >&2; exit 2; }
seconds=$("$python" -c 'import sys; print(int(float(sys.argv[1]) * 60))' "$minutes") || exit 2
files_left=$((${FILES:-8} - 2)) # the log and the summary come anyway
bytes_left=$((${ALL_BYTES:-$((63 << 20))} - part_bytes / 15)) # and are small

run=${RUN:-$root/out/gpu-train}
out=${OUT:-out/gpu}
mkdir -p "$out" "$run" && out=$(cd "$out" && pwd) && run=$(cd "$run" && pwd) || exit 2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

say() { echo "$*" | tee -a "$out/summary.txt"; }

mib() { "$python" -c 'import sys; print(f"{int(sys.argv[1]) / 2**20:.1f} MiB")' "$1"; }

newest() { find "$1" -maxdepth 1 -name "$2" | sort | tail -1; } # newest FOLDER PATTERN

counters() { # kimg and seconds of a state file; zeros where there is none
  [ -n "$1" ] || { echo 0 0; return; }
  "$python" - "$1" <<'END'
import json
import sys

with open(sys.argv[1], "rb") as file:
    header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
counters = json.loads(header["__metadata__"]["counters"])
print(f"{counters['cur_nimg'] / 1000:.3f} {counters['seconds']:.1f}")
END
}

join_parts() { # the parts in $STATE become files of the run folder, unless those are newer
  local parts=("$STATE"/run.tar*) count
  if [ ! -f "${parts[0]}" ]; then
    echo "got STATE=$STATE without run.tar; expected what an earlier call left" >&2
    return 1
  fi
  count=${parts[0]##*-of-}
  [ "${parts[0]}" != "$STATE/run.tar" ] || count=1
  if [ ${#parts[@]} -ne $((10#$count)) ]; then
    echo "got ${#parts[@]} parts of run.tar in $STATE; expected $((10#$count))" >&2
    return 1
  fi
  mkdir "$scratch/run" && cat "${parts[@]}" | tar -xf - -C "$scratch/run" || return 1
  local theirs ours
  theirs=$(newest "$scratch/run" "state-*.safetensors") ours=$(newest "$run" "state-*.safetensors")
  if [[ ${theirs##*/} > ${ours##*/} ]]; then
    mv -f "$scratch/run"/* "$run/"
  else
    echo "the run folder has ${ours##*/} itself" >&2
  fi
}

fits() { # may so many bytes come along as so many files: fits BYTES FILES
  [ "$1" -le $bytes_left ] && [ $((($1 + part_bytes - 1) / part_bytes)) -le "$2" ]
}

put() { # a file into $OUT, in parts where it is too large: put FILE NAME
  local bytes count
  bytes=$(stat -c %s "$1")
  count=$(((bytes + part_bytes - 1) / part_bytes))
  files_left=$((files_left - count)) bytes_left=$((bytes_left - bytes))
  if [ $count -le 1 ]; then
    cp "$1" "$out/$2"
  else
    split -b "$part_bytes" --numeric-suffixes=1 -a 2 \
      --additional-suffix="-of-$(printf %02d $count)" "$1" "$out/$2."
  fi
}

if [ -n "${STATE:-}" ]; then join_parts || exit 2; fi
rm -f "$out"/run.tar* "$out"/snapshot-* "$out"/{fakes.png,train.txt,summary.txt}
say "commit $(git -C "$root" rev-parse --short HEAD 2>/dev/null || echo "${COMMIT:-unknown}"), device $device"
[ $device = cpu ] || say "$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>&1 | head -1)"
say "options ${fixed[*]} ${recipe[*]}"

# Train. A run that stops writes a snapshot of that moment, unless the folder holds one.
read -r kimg spent <<<"$(counters "$(newest "$run" "state-*.safetensors")")"
mkdir -p "$run/earlier"
find "$run" -maxdepth 1 \( -name 'snapshot-*' -o -name 'fakes-*' \) -exec mv -f {} "$run/earlier/" \;
begun=$SECONDS
timeout -s TERM -k 30 $((seconds > SECONDS ? seconds - SECONDS : 1)) \
  "$python" -m stylemix train "${data[@]}" --output "$run" --device $device --snapshot-kimg 1000000 \
  "${fixed[@]}" "${recipe[@]}" >"$out/train.txt" 2>&1 &
training=$!
trap 'kill -TERM $training' TERM INT
wait $training
code=$?
while kill -0 $training 2>/dev/null; do wait $training; done
trap - TERM INT
state=$(newest "$run" "state-*.safetensors")
read -r kimg_now spent_now <<<"$(counters "$state")"
pace=$("$python" - "$kimg" "$kimg_now" "$spent" "$spent_now" <<'END'
import sys

before, after, start, end = map(float, sys.argv[1:])
print(f"{(end - start) / (after - before):.4g} s/kimg" if after > before else "")
END
)
failed=0 word=stopped
case $code in
  0) word="at its end" ;;
  124 | 130 | 143) ;; # by the clock, or by a signal to this script
  *) word="FAILED (exit code $code)" failed=1 ;;
esac
if [ -z "$pace" ] && [ $code -ne 0 ]; then word="FAILED: no step was kept (exit code $code)" failed=1; fi
say "train: $word, $((SECONDS - begun)) s; from $kimg to $kimg_now kimg${pace:+, $pace}; $(tail -1 "$out/train.txt" | cut -c1-150)"

# Keep, what matters most first.
snapshot=$(newest "$run" "snapshot-*.safetensors") fakes=$(newest "$run" "fakes-*.png")
[ -z "$fakes" ] || put "$fakes" fakes.png
tries=(--no-discriminator)
if [ -n "$state" ]; then
  bytes=$(($(stat -c %s "$state") + 65536 + $(stat -c %s "$run/stats.jsonl" 2>/dev/null || echo 0)))
  if fits $bytes $((files_left - 1)); then
    names=("${state##*/}")
    for name in stats.jsonl training_options.json; do
      [ ! -f "$run/$name" ] || names+=("$name")
    done
    tar -cf "$scratch/run.tar" -C "$run" "${names[@]}" && put "$scratch/run.tar" run.tar || failed=1
    say "state: $(mib $bytes) in $(find "$out" -name 'run.tar*' | wc -l) files"
  else
    tries=("" --no-discriminator)
    say "state: LEFT OUT, $(mib $bytes), and room for $(mib $bytes_left) in $((files_left - 1)) files; it is in the run folder"
  fi
fi
if [ -n "$snapshot" ]; then
  name=${snapshot##*/} word="LEFT OUT, or not converted"
  for option in "${tries[@]}"; do
    "$python" -m stylemix convert "$snapshot" "$scratch/$name" ${option:+"$option"} >>"$out/train.txt" 2>&1 || break
    bytes=$(stat -c %s "$scratch/$name")
    if fits "$bytes" $files_left; then
      put "$scratch/$name" "$name"
      word="$(mib "$bytes")${option:+, without discriminator}"
      break
    fi
  done
  say "snapshot: $name, $word"
  if [ -z "$(find "$out" -name "$name*")" ]; then failed=1; fi
else
  say "snapshot: none was written; the state can be made one" && failed=1
fi
if [ -f "$run/stats.jsonl" ]; then cat "$run/stats.jsonl" >>"$out/train.txt"; fi

# Measure, in the time that is left.
if [ -n "$val" ] && [ -n "$snapshot" ]; then
  limit=$((seconds + 45 - SECONDS > 10 ? seconds + 45 - SECONDS : 10))
  [ -z "${DRY:-}" ] || limit=300
  if timeout -k 5 $limit "$python" -m stylemix metrics "$snapshot" --data "$val" --device $device \
    --no-cache >"$scratch/said" 2>&1; then
    say "metrics: $(grep -m1 '^FD' "$scratch/said" | tr -s ' ')"
  else
    say "metrics: FAILED or too slow for $limit s; $(tail -1 "$scratch/said" | cut -c1-150)" && failed=1
  fi
fi
say "all: $SECONDS s"
exit $failed
