# Steps of a script that ends by the clock and leaves its results whatever happens; to be sourced.
#
# The script sets `stop_at` and `limit` (of $SECONDS: when no step is to run any more, and when all has
# to be over), the folders `out`, `logs` and `scratch`, and failed=0. At SIGTERM all running steps end
# and `stop_at` is now. A function that runs in the background begins with `alone`.
child='' background=()

say() { echo "$*" | tee -a "$out/summary.txt"; }

least() { echo $(($1 < $2 ? $1 : $2)); }

on_term() { # now it is time to collect
  stop_at=$SECONDS limit=$(least $limit $((SECONDS + 40)))
  [ -z "$child" ] || kill -TERM "$child" 2>/dev/null
  [ ${#background[@]} -eq 0 ] || kill -TERM "${background[@]}" 2>/dev/null
}
trap on_term TERM INT

alone() { # of a function in the background: it has nobody else's children
  child='' background=()
  trap on_term TERM INT
}

finish() { # wait PID, also where a signal comes in between; its exit code
  local code
  wait "$1"
  code=$?
  while kill -0 "$1" 2>/dev/null; do
    wait "$1"
    code=$?
  done
  return $code
}

limited() { # limited SECONDS COMMAND...: SIGNAL (TERM) to all of its processes then, KILL after 15 s
  [ "$1" -ge 1 ] || return 124 # to timeout, 0 is no limit
  timeout -s "${signal:-TERM}" -k 15 "$@" </dev/null &
  child=$!
  finish $child
  local code=$?
  child=''
  return $code
}

pack_logs() { # after each step, for the case that somebody ends this script
  tar -czf "$scratch/$BASHPID.gz" -C "$logs" . 2>/dev/null
  cp "$scratch/$BASHPID.gz" "$out/logs.tar.gz"
}

step() { # step NAME SECONDS COMMAND...
  local name=$1 most begun=$SECONDS code word
  most=$(least "$2" $((stop_at - SECONDS)))
  shift 2
  [ "$most" -ge 2 ] || { say "$name: left out, no time was left"; return 75; }
  limited "$most" "$@" >"$logs/$name.txt" 2>&1
  code=$?
  case $code in
    0) word=ok ;;
    124 | 137) word="ended after its $most s" failed=1 ;;
    *) word="FAILED (exit code $code)" failed=1 ;;
  esac
  say "$name: $word, $((SECONDS - begun)) s; $(tail -1 "$logs/$name.txt" | cut -c1-200)"
  pack_logs
  return $code
}
