#!/usr/bin/env bash
# streaming.sh [generic options of Hadoop] FROM..TO INPUT OUTPUT > results.jsonl
#
# Analyses files of `milo-collector export --hours` with Hadoop Streaming. INPUT and OUTPUT are folders of HDFS; OUTPUT must not exist.
# On files of this machine, without a cluster: streaming.sh -fs file:/// -jt local FROM..TO INPUT OUTPUT
#
#   HADOOP_STREAMING  hadoop-streaming's jar, if it isn't in HADOOP_HOME
#   REDUCERS          how many (4)
#   MILO_COLLECTOR    the command by which the cluster's nodes run milo-collector (milo-collector), and this machine too
#
# A task is a JVM and a Node process, which have 3 GB of virtual memory together, though they use a tenth: YARN kills a task that has more than 2.1
# times its memory of it, and so 1 GB, the default, isn't enough.
set -euo pipefail
[ $# -ge 3 ] || { echo "usage: $0 [generic options of Hadoop] FROM..TO INPUT OUTPUT > results.jsonl" >&2; exit 2; }
options=("${@:1:$#-3}")
hours=${*: -3:1} input=${*: -2:1} output=${*: -1}
milo=${MILO_COLLECTOR:-milo-collector}
home=${HADOOP_HOME:-/usr/lib/hadoop}
streaming=${HADOOP_STREAMING:-$(ls "$home"/share/hadoop/tools/lib/hadoop-streaming-*.jar | tail -n 1)}
[ -n "$streaming" ] || { echo "$0: no hadoop-streaming in $home: set HADOOP_STREAMING to its jar" >&2; exit 2; }

hadoop jar "$streaming" \
  -D mapreduce.job.name="milo $hours" \
  -D mapreduce.job.reduces="${REDUCERS:-4}" \
  -D mapreduce.map.memory.mb=2048 -D mapreduce.reduce.memory.mb=2048 \
  ${options[@]+"${options[@]}"} \
  -input "$input" -output "$output" \
  -mapper "$milo map" \
  -reducer "$milo reduce --hours $hours" >&2

# A reducer writes some thousand lines, whatever it read. So they are merged here. Nothing is written unless all of them have come.
results=$(mktemp)
trap 'rm -f "$results"' EXIT
hadoop fs ${options[@]+"${options[@]}"} -cat "$output/part-*" | LC_ALL=C sort | $milo reduce --merge > "$results"
cat "$results"
