#!/usr/bin/env bash
# All that needs a GPU, in less than 12 minutes: builds the ops, runs the tests on the device and
# again under the memory checker, measures, and runs whole commands beside the CPU.
#
#   OUT=folder tests/bench/gpu_all.sh              everything
#   OUT=folder tests/bench/gpu_all.sh bench whole  some steps: build tests sanitizer bench whole
#   DRY=1 tests/bench/gpu_all.sh                   the same at toy sizes on the CPU
#
# MINUTES (11.5) are shared out among the steps that run; a step that is too slow is ended, and the
# next one starts. Results, 8 files at most, are in $OUT whatever fails; summary.txt has a line a step.
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root" || exit 1
python=${PYTHON:-python3}
out=${OUT:-out/gpu}
mkdir -p "$out" && out=$(cd "$out" && pwd) || exit 1
seconds=$("$python" -c 'import sys; print(int(float(sys.argv[1]) * 60))' "${MINUTES:-11.5}") || exit 1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# Some installed packages bring a top-level `tests`, which would hide ours from `-m tests.bench`.
mkdir "$scratch/tests"
echo "__path__ = ['$root/tests']" >"$scratch/tests/__init__.py"
export PYTHONPATH=$scratch:$root PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

if [ -n "${DRY:-}" ]; then
  device=cpu kinds=cpu size=(--quick --repeats 3)
  select=(--device cpu tests/ops/test_bias_act.py -k test_values)
else
  device=cuda kinds="cpu cuda" size=(--compile --resolutions 256 1024)
  select=(--device cuda -m gpu tests)
fi

share() { # of the time, by step
  case $1 in build) echo 100 ;; tests) echo 160 ;; sanitizer) echo 90 ;; bench) echo 270 ;; whole) echo 60 ;;
    *) echo "unknown step $1" >&2; return 1 ;;
  esac
}

say() { echo "$*" | tee -a "$out/summary.txt"; }

checker() { command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null; }

run_build() { limited "$python" -m tests.bench.build $kinds; }

run_tests() { limited "$python" -m pytest -q -p no:cacheprovider "${select[@]}"; }

run_sanitizer() { # without PyTorch's own cache of memory, which hides what lies beyond a tensor
  if ! checker >/dev/null; then
    echo "compute-sanitizer is not here"
    return 77
  fi
  PYTORCH_NO_CUDA_MEMORY_CACHING=1 limited "$(checker)" --tool memcheck --error-exitcode 86 \
    "$python" -m pytest -q -p no:cacheprovider --device cuda -m gpu tests/ops \
    -k "not compile and not export and not gradgradcheck"
}

run_bench() { # the tables first, what was said last
  limited "$python" -m tests.bench.all --device $device "${size[@]}" --budget $((limit * 8 / 10)) \
    --output "$out/bench.json" >"$scratch/said" 2>&1
  local code=$?
  [ ! -s "$out/bench.json" ] || "$python" -m tests.bench.table "$out/bench.json"
  cat "$scratch/said"
  return $code
}

run_whole() {
  local quick=()
  [ -z "${DRY:-}" ] || quick=(--quick)
  limited "$python" -m tests.bench.whole --device $device "${quick[@]}" --output "$out/whole.json"
}

limited() { timeout -k 10 "$limit" "$@"; }

steps=("$@")
[ ${#steps[@]} -gt 0 ] || steps=(build tests sanitizer bench whole)
total=0
for step in "${steps[@]}"; do
  part=$(share "$step") || exit 2
  total=$((total + part))
done

: >"$out/summary.txt"
say "commit $(git rev-parse --short HEAD 2>/dev/null || echo "${COMMIT:-unknown}"), device $device"
[ $device = cpu ] || say "$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>&1 | head -1)"
[ $device = cpu ] || say "$(nvcc --version 2>&1 | tail -2 | head -1)"
failed=0
for step in "${steps[@]}"; do
  limit=$(($(share "$step") * seconds / total)) begun=$SECONDS
  "run_$step" >"$out/$step.txt" 2>&1
  code=$?
  case $code in
    0) word=ok ;;
    77) word="left out" ;;
    124 | 137) word="ended after its $limit s" failed=1 ;;
    *) word="FAILED (exit code $code)" failed=1 ;;
  esac
  say "$step: $word, $((SECONDS - begun)) s; $(tail -1 "$out/$step.txt" | cut -c1-150)"
done
say "all: $SECONDS s"
exit $failed
