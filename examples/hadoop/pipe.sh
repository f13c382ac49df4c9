#!/usr/bin/env bash
# pipe.sh FROM..TO FILE… > results.jsonl
#
# Analyses files of `milo-collector export --hours` on this machine. Each step reads one line at a time: only `sort` needs room,
# which is the size of its input in TMPDIR.
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: $0 FROM..TO FILE… > results.jsonl" >&2; exit 2; }
hours=$1
shift
milo=${MILO_COLLECTOR:-milo-collector}

# By bytes, as Hadoop and Spark sort.
export LC_ALL=C
for file; do
  case $file in
    *.gz) gzip -dc "$file" ;;
    *.zst) zstd -dcq "$file" ;;
    *) cat "$file" ;;
  esac
done | $milo map | sort | $milo reduce --hours "$hours" | sort | $milo reduce --merge
