#!/bin/sh
# Compiler launcher: runs nvcc and keeps what it says beside the object file, as <object>.ptxas. Warnings and errors
# are shown; the resource report is for cmake/CheckPtxas.cmake.
object=
previous=
for argument in "$@"; do
    [ "$previous" = -o ] && object=$argument
    previous=$argument
done
"$@" 2>"$object.ptxas"
status=$?
grep -vE '^ptxas info|bytes stack frame|^$' "$object.ptxas" >&2
exit $status
