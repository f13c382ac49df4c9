#!/usr/bin/env bash
# pipe.sh FROM..TO FILE… > results.jsonl
#
# Analyses files of `milo-collector export --hours` on this machine; a folder stands for all that is in it. Each step reads one line at a
# time: only `sort` needs room, which is the size of its input in TMPDIR. Nothing is written unless every step has come to its end.
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: $0 FROM..TO FILE… > results.jsonl" >&2; exit 2; }
hours=$1
shift
milo=${MILO_COLLECTOR:-milo-collector}

# Names that begin with _ are what an export says about its files, and files that aren't whole.
files=()
for given; do
  [ -e "$given" ] || { echo "$0: $given doesn't exist: give files or folders of milo-collector export --hours" >&2; exit 2; }
  while IFS= read -r -d '' file; do files+=("$file"); done < <(find -L "$given" -type f ! -name '_*' -print0)
done
[ ${#files[@]} -gt 0 ] || { echo "$0: no files in $*: run milo-collector export --hours, an hour or later after the first span" >&2; exit 2; }

# By bytes, as Hadoop and Spark sort.
export LC_ALL=C
results=$(mktemp)
trap 'rm -f "$results"' EXIT
for file in "${files[@]}"; do
  case $file in
    *.gz) gzip -dc "$file" ;;
    *.zst) zstd -dcq "$file" ;;
    *) cat "$file" ;;
  esac
done | $milo map | sort | $milo reduce --hours "$hours" | sort | $milo reduce --merge > "$results"
cat "$results"
