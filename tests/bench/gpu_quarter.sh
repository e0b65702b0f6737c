#!/usr/bin/env bash
# A quarter of an hour of a rented H100 or H200, in two calls: builds the ops, sees whether they are
# right, measures them alone on the card, and then tests and checks beside a few trainings.
#
#   DATA="a.zip b.zip" VAL=val.zip OUT=first tests/bench/gpu_quarter.sh
#   PARTS=train LIMIT=150 DATA=... VAL=... OUT=second tests/bench/gpu_quarter.sh    at once after it
#   DRY=1 tests/bench/gpu_quarter.sh                           the same at toy size on the CPU
#
# OUT (out/gpu): where the results go; a machine that sends back a folder OUT of its own sets it
# itself, so leave it out there.
# PARTS: some of build ops bench tests sanitizer whole train (all but whole, which compares commands
# with the CPU). LIMIT (590): seconds, all in all; the trainings end RESERVE (60) before it, at
# SIGTERM earlier, or after TRAIN seconds. RUNS (out/gpu-runs): run folders, from which a second call goes on. DATA: what
# `stylemix train` takes, the same in every call. VAL: pictures held out, for Frechet distances.
# TRAININGS: a line for each run, its name and its own options; RECIPE: the options of all of them.
#
# In $OUT, whatever fails: summary.txt (also printed), logs.tar.gz (all that was said, bench.json,
# statistics), models.tar (of each run the generator as fp16 and its pictures) and run.tar (state of
# the run KEEP, the last in the list), as at most FILES (8) files of PART_BYTES (15 MiB), ALL_BYTES
# (63 MiB) together. What is larger comes in parts NAME.01-of-03, which `cat NAME.*` joins. Where the
# state does not fit, KEEP's model has its discriminator, and a new run can --transfer from it.
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root" || exit 2
python=${PYTHON:-python3}
ops=(tests/ops/test_{bias_act,upfirdn2d,epilogue}.py)
if [ -n "${DRY:-}" ]; then
  device=cpu kinds=cpu side=16 count=64 start= threads=1 train_most=${TRAIN:-10} bench_most=900
  limit=${LIMIT:-120} reserve=${RESERVE:-30} part_bytes=${PART_BYTES:-400000}
  data=${DATA:-docs/images} val=${VAL-docs/images}
  trainings=${TRAININGS:-$'plain\nmixed --style-mixing .5\nmirrored --mirror'}
  recipe=${RECIPE:-"--template faces128 --preset laptop --channel-base 256 --channel-max 16 --z-dim 16
    --w-dim 16 --batch 8 --tick-kimg .064 --workers 1"}
  bench=(--quick --repeats 3)
  right=(-k "native and test_values" tests/ops/test_bias_act.py)
  rest=(-k test_values tests/ops/test_epilogue.py)
else
  device=cuda kinds="cuda cpu" side=256 count=5000 start=faces-64 threads=2 train_most=${TRAIN:-900} bench_most=125
  limit=${LIMIT:-590} reserve=${RESERVE:-60} part_bytes=${PART_BYTES:-$((15 << 20))}
  data=${DATA:-} val=${VAL:-}
  bands="--head haar --d-head haar" wide="--channel-base 4096 --d-channel-base 8192"
  trainings="plain $wide"$'\n'"haar $wide $bands"
  if [ -f stylemix/assets/faces-256.safetensors ]; then # there the question is how wide
    start=faces-256 trainings="narrow $bands"$'\n'"wide $wide $bands"
  fi
  trainings=${TRAININGS:-"$trainings"$'\n'"features $wide $bands --feature-weight 1"}
  recipe=${RECIPE:-"--template faces128 --preset laptop --mirror --noise none --batch 32
    --channel-min 32 --r1-gamma .6 --state-minutes 1 --workers 4 --transfer $start --transfer-lr .5"}
  bench=(--compile ops --dtypes bf16 tf32 --resolutions 256 1024 --repeats 3 --budget 105)
  right=(--device cuda -x -m gpu -k "native and not gradcheck and not gradgradcheck" "${ops[@]}")
  rest=(--device cuda -m gpu tests/ops tests) # those of the ops first
  export STYLEMIX_CUDA_ARCHS=${STYLEMIX_CUDA_ARCHS:-9.0} # other cards would cost time to build for
fi
parts=" ${PARTS:-build ops bench tests sanitizer train} "
runs=${RUNS:-out/gpu-runs} out=${OUT:-out/gpu}
read -ra data <<<"$data"
read -rd '' -a recipe <<<"$recipe"
if [[ $parts = *" train "* && ${#data[@]} -eq 0 ]]; then
  echo "got no DATA; expected zips or folders of faces" >&2
  exit 2
fi
mkdir -p "$out" "$runs" && out=$(cd "$out" && pwd) && runs=$(cd "$runs" && pwd) || exit 2
rm -f "$out"/{run,models}.tar* "$out"/{logs.tar.gz,summary.txt}
stop_at=$((limit - reserve))
scratch=$(mktemp -d) logs=$(mktemp -d) failed=0
trap 'rm -rf "$scratch" "$logs"' EXIT
# Some installed packages bring a top-level `tests`, which would hide ours from `-m tests.bench`.
mkdir "$scratch/tests" "$scratch/models"
echo "__path__ = ['$root/tests']" >"$scratch/tests/__init__.py"
export PYTHONPATH=$scratch:$root PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

. tests/bench/steps.sh

asked() { [[ $parts = *" $1 "* ]]; }

newest() { find "$1" -maxdepth 1 -name "$2" | sort | tail -1; } # newest FOLDER PATTERN

progress() { "$python" -m tests.bench.collect progress "$@"; }

pytest_() { # at the signal of a keyboard it tells what failed so far
  local name=$1 most=$2
  shift 2
  signal=INT step "$name" "$most" "$python" -m pytest -v --tb=short -p no:cacheprovider \
    --continue-on-collection-errors "$@"
}

build() { # both kinds at once; plain PyTorch takes the place of what cannot be compiled
  local kind pid
  rm -f "$runs/ops"
  for kind in $kinds; do
    (alone && step "build-$kind" 75 "$python" -m tests.bench.build "$kind") &
    background+=($!)
  done
  for kind in $kinds; do
    pid=${background[0]} background=("${background[@]:1}")
    finish "$pid" && continue
    failed=1
    [ "$kind" != $device ] || { use_plain && export STYLEMIX_OPS=torch; }
  done
}

use_plain() { # in this call's trainings and in the next one's
  say "trainings use plain PyTorch ops"
  echo torch >"$runs/ops"
}

check_ops() { # whose kernels fail to answer or spoil the device are not measured either
  [ "${STYLEMIX_OPS:-}" != torch ] || return
  pytest_ ops 70 "${right[@]}" && return
  use_plain
  ! grep -q -e "CUDA error" -e "KeyboardInterrupt" "$logs/ops.txt" || bench_ops=torch
}

measure() {
  local line
  STYLEMIX_OPS=${bench_ops:-${STYLEMIX_OPS:-}} step bench $bench_most "$python" -m tests.bench.all \
    --device $device "${bench[@]}" --output "$logs/bench.json"
  [ -s "$logs/bench.json" ] || return
  "$python" -m tests.bench.table "$logs/bench.json" >"$logs/tables.txt" 2>&1
  sed -n '/seconds per kimg/,/^$/p' "$logs/tables.txt" | head -30 >"$scratch/lines"
  while read -r line; do [ -z "$line" ] || say "$line"; done <"$scratch/lines"
}

checks() { # beside the trainings, one after another; each leaves the next ones their share
  alone
  local tool share=0
  if asked sanitizer && [ $device = cuda ]; then share=120; fi
  if asked tests; then
    pytest_ tests "$(least 240 $((stop_at - SECONDS - share)))" "${rest[@]}"
  fi
  tool=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)
  if asked sanitizer && [ -n "$tool" ]; then
    # Without PyTorch's own cache of memory, which hides what lies beyond a tensor.
    export PYTORCH_NO_CUDA_MEMORY_CACHING=1
    sanitize memcheck 100 "test_values or test_channels_last or test_empty"
    sanitize racecheck 40 "test_channels_last and upfirdn2d"
  elif asked sanitizer; then
    say "sanitizer: left out, compute-sanitizer is not here"
  fi
  if asked whole; then
    step whole 60 "$python" -m tests.bench.whole --device $device ${DRY:+--quick} --output "$logs/whole.json"
  fi
  exit $failed
}

sanitize() { # sanitize TOOL SECONDS WHICH: a few tests, since it makes them 50 times as slow
  step "$1" "$2" "$tool" --tool "$1" --error-exitcode 86 "$python" -m pytest -v --tb=short \
    -p no:cacheprovider --device cuda -m gpu "${ops[@]}" -k "native and ($3)"
}

train() { # train NAME OPTIONS...; once more on plain PyTorch where it dies
  alone
  local name=$1 log=$logs/train-$1.txt mode code most
  shift
  for mode in "${STYLEMIX_OPS:-$(cat "$runs/ops" 2>/dev/null)}" torch; do
    most=$(least "$train_most" $((stop_at - SECONDS)))
    [ "$most" -ge 2 ] || break
    STYLEMIX_OPS=$mode limited "$most" "$python" -m stylemix train "${data[@]}" \
      --output "$runs/$name" --device $device --resolution $side --snapshot-kimg 1000000 \
      "${recipe[@]}" "$@" >>"$log" 2>&1
    code=$?
    case $code in 0 | 124 | 130 | 143) break ;; esac
    say "train $name: FAILED (exit code $code${mode:+, ops $mode}); $(tail -3 "$log" | tr '\n' ' ' | cut -c1-400)"
    failed=1
    [ "$mode" != torch ] || break
  done
  exit $failed
}

distance() { # distance NAME MODEL SECONDS: how far the pictures are from those held out
  alone
  local log=$logs/distance-$1.txt most
  most=$(least "$3" $((limit - 8 - SECONDS)))
  limited "$most" "$python" -m tests.bench.distance "$2" --data "$val" --side $side \
    --count $count --device $device >"$log" 2>&1
  [ $? -ne 124 ] || echo "too slow for $most s" >>"$log"
  say "distance of $1: $(tail -1 "$log" | cut -c1-200)"
}

convert() { # convert NAME MODEL TARGET: to fp16, without discriminator
  alone
  limited "$(least 25 $((limit - 10 - SECONDS)))" "$python" -m stylemix convert "$2" "$3" \
    --no-discriminator >>"$logs/convert-$1.txt" 2>&1
}

collect() { # models and figures at once, then the files; figures may come last
  export OMP_NUM_THREADS=$((threads * 2)) # the trainings are over
  local name snapshot converts=() distances=() pid line models=$scratch/models
  for name in "${names[@]}"; do
    tail -200 "$runs/$name/stats.jsonl" >"$logs/stats-$name.jsonl" 2>/dev/null
    line=$(progress "$runs/$name" --since "${before[$name]}")
    say "train $name: from ${before[$name]} to $line; $(tail -1 "$logs/train-$name.txt" | cut -c1-150)"
    snapshot=$(newest "$runs/$name" "snapshot-*.safetensors")
    [ -n "$snapshot" ] || { say "train $name: NO SNAPSHOT"; failed=1; continue; }
    cp "$(newest "$runs/$name" "fakes-*.png")" "$models/$name-fakes.png"
    (convert "$name" "$snapshot" "$models/$name-${snapshot##*/}") &
    converts+=($!)
    [ "$name" != "$keep" ] || cp "$snapshot" "$models/$name-with-discriminator.safetensors"
    [ -n "$val" ] || continue
    (distance "$name" "$snapshot" 40) &
    distances+=($!)
  done
  for pid in "${converts[@]}"; do finish "$pid" || failed=1; done
  "$python" -m tests.bench.collect pack "$out" --models "$models" --runs "$runs" --keep "$keep" \
    --part "$part_bytes" --files $((${FILES:-8} - 2)) \
    --bytes $((${ALL_BYTES:-$((63 << 20))} - part_bytes / 5)) >"$scratch/packed" 2>&1 || failed=1
  while read -r line; do say "${line:-nothing to keep}"; done <"$scratch/packed"
  for pid in "${distances[@]}"; do finish "$pid"; done
}

say "commit $(git rev-parse --short HEAD 2>/dev/null || echo "${COMMIT:-unknown}"), device $device, $limit s"
[ $device = cpu ] || say "$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>&1 | head -1)"
if asked build; then build; fi
if asked ops; then check_ops; fi
if asked bench; then measure; fi

# Many share the cores from here on.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$threads}
names=()
declare -A before
if asked train; then
  say "recipe ${recipe[*]}"
  while read -ra words; do
    name=${words[0]} names+=("$name")
    before[$name]=$(progress "$runs/$name" --since 1e9 | cut -d' ' -f1)
    # A run that stops writes a snapshot of that moment, unless the folder holds one.
    mkdir -p "$runs/$name/earlier"
    find "$runs/$name" -maxdepth 1 \( -name 'snapshot-*' -o -name 'fakes-*' \) -exec mv -f {} "$runs/$name/earlier/" \;
    (train "${words[@]}") &
    background+=($!)
  done <<<"$trainings"
  if [ -n "$val" ] && [ -n "$start" ] && [ ! -e "$runs/start" ]; then
    touch "$runs/start"
    (distance "$start" "$start" 90) & # which also keeps the features of the pictures held out
    background+=($!)
  fi
fi
(checks) &
background+=($!)
for pid in "${background[@]}"; do finish "$pid" || failed=1; done
background=()
keep=${KEEP:-}
[ -n "$keep" ] || [ ${#names[@]} -eq 0 ] || keep=${names[-1]}
if asked train; then collect; fi
grep -hE "^(FAILED|ERROR) " "$logs"/{ops,tests,memcheck,racecheck}.txt 2>/dev/null | sort -u | head -40 >"$scratch/lines"
while read -r line; do say "$line"; done <"$scratch/lines"
for log in "$logs"/*.txt; do # whoever talked without end
  [ "$(stat -c %s "$log")" -lt 1500000 ] || { tail -c 1500000 "$log" >"$scratch/cut" && cp "$scratch/cut" "$log"; }
done
say "all: $SECONDS s"
pack_logs
exit $failed
