#!/bin/sh
# Adds up the numbers of a file, plain and from its packed copy.
awk '{ s += $1 } END { print "plain", s }' "$1"
zcat "$1.gz" | awk '{ s += $1 } END { print "packed", s }'
echo "as $(id -un) in $(pwd)"
