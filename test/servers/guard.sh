#!/bin/sh
# Runs a server for as long as the test process lives.
#
#   guard.sh FOLDER PROGRAM [ARGUMENT…]
#
# Standard input is a pipe that only the test process holds: it ends when that process does, be it by SIGKILL. Then the
# server is killed and its FOLDER removed. The server's process id is written to descriptor 3. Ends as the server does.
folder=$1
shift
exec 4<&0
# A file that has reached its limit (process.ts) is an error to who writes it, and not its end.
trap '' XFSZ
"$@" </dev/null 3>&- 4<&- &
server=$!
echo "$server" >&3
exec 3>&-
(
  cat <&4 >/dev/null
  # Past this point it isn't to be called off: the folder has to go after the server.
  trap '' TERM
  kill -KILL "$server"
  # Files that the dying server still writes must not outlive the folder.
  while kill -0 "$server"; do sleep 0.1; done
  rm -rf "$folder"
) 2>/dev/null &
watcher=$!
exec 4<&-
wait "$server"
status=$?
kill "$watcher" 2>/dev/null
exit "$status"
