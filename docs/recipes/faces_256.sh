#!/usr/bin/env bash
# The long training of faces-256 in the background, from a copy of the project with its own virtual
# environment, so that changes of the checkout do not affect it.
#
#   docs/recipes/faces_256.sh start FOLDER DATA    copy the project if needed, start or resume
#   docs/recipes/faces_256.sh status FOLDER        progress and the last lines of the log
#   docs/recipes/faces_256.sh pause FOLDER         pause (SIGSTOP), for measurements on an idle machine
#   docs/recipes/faces_256.sh continue FOLDER
#   docs/recipes/faces_256.sh stop FOLDER          write the state and stop
#
# FOLDER holds src (the copy), env, run (states every ten minutes, snapshots), train.log and pid.
# A new FOLDER starts from the shipped faces-256 where there is one, else from faces-64. DATA is a
# zip of aligned faces of 256 px (docs/model-card.md).
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
action=${1:-} folder=${2:-}
if [ -z "$folder" ]; then
  sed -n '2,14s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  exit 2
fi
mkdir -p "$folder" && folder=$(cd "$folder" && pwd)

alive() { [ -s "$folder/pid" ] && kill -0 "$(cat "$folder/pid")" 2>/dev/null; }

signal() { # signal NAME
  alive || { echo "got no running training in $folder; expected one; start it" >&2; exit 2; }
  kill "-$1" "$(cat "$folder/pid")"
}

start() { # start DATA
  local data options
  data=$(realpath "${1:?DATA is missing}")
  ! alive || { echo "already running, see: $0 status $folder" >&2; exit 2; }
  if [ ! -d "$folder/src" ]; then
    git clone -q "$root" "$folder/src"
    "${PYTHON:-python3}" -m venv "$folder/env"
    "$folder/env/bin/pip" install -q "$folder/src"
  fi
  options=(--transfer faces-64 --transfer-lr 0 --transfer-d-lr .3)
  if [ -f "$folder/src/stylemix/assets/faces-256.safetensors" ]; then
    options=(--transfer faces-256 --transfer-lr 0 --transfer-d-lr .3)
  fi
  [ ! -f "$folder/options" ] || read -ra options <"$folder/options" # options of a run do not change
  echo "${options[*]}" >"$folder/options"
  cd "$folder"
  # One thread that sleeps while waiting: spinning threads lose to any other work on the machine.
  export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" OMP_WAIT_POLICY=PASSIVE
  nohup nice -n 10 "$folder/env/bin/stylemix" train "$data" --output "$folder/run" --device cpu \
    --resolution 256 --template faces128 --preset laptop --mirror --noise none --batch 32 \
    --channel-base 2048 --channel-min 32 --head haar --d-head haar --r1-gamma 2 \
    --augment-filter bilinear --ema-kimg 2 --tick-kimg 1 --state-minutes 10 --snapshot-kimg 20 \
    --keep-snapshots 2 --workers 1 --kimg 1000 "${options[@]}" >>"$folder/train.log" 2>&1 &
  echo $! >"$folder/pid"
  echo "started, pid $!; log: $folder/train.log"
}

case $action in
  start) start "${3:-}" ;;
  pause) signal STOP ;;
  continue) signal CONT ;;
  stop) signal TERM ;;
  status)
    if alive; then ps -o pid,stat,etime,time -p "$(cat "$folder/pid")"; else echo "not running"; fi
    tail -n 5 "$folder/train.log"
    ls -l "$folder"/run/{state,snapshot}-* 2>/dev/null
    ;;
  *) echo "got $action; expected start, status, pause, continue or stop" >&2; exit 2 ;;
esac
