#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# usage: jobs.sh LINES
# Background jobs with exit codes, pipelines, a coprocess with a trap, process substitution, a fifo.
# Prints one line for each pass; jobs_lines() in table.py computes the same in another way.
set -u
mkfifo fifo
# The trap is not in the main shell: it would run in the middle of parsing a $(...), where bash gets
# confused.
coproc BRACKETS {
	signals=0
	trap 'signals=$((signals + 1))' USR1
	echo up
	while read -r line; do echo "<$line $signals>"; done
}
read -r _ <&"${BRACKETS[0]}"

# mix SEED COUNT
mix() {
	local i h=$1
	for ((i = 0; i < $2; i++)); do ((h = (h * 31 + i) & 0xffffff)); done
	echo "$h"
}

for ((n = 0; n < $1; n++)); do
	mix "$n" 1500 >job.out &
	first=$!
	(
		mix "$((n + 7))" 1500 >fifo
		kill -USR1 "$BRACKETS_PID"
		exit $((n % 100))
	) &
	second=$!
	read -r by_fifo <fifo
	letters=$(for ((i = 0; i < 300; i++)); do echo "$((n + i))"; done | tr 0-9 a-j |
		while read -r word; do echo "${#word} $word"; done | sort | tail -n 1)
	pasted=$(paste -d + <(mix "$n" 300) <(mix 5 300))
	wait "$first"
	one=$?
	wait "$second"
	two=$?
	echo "$n" >&"${BRACKETS[1]}"
	read -r bracketed <&"${BRACKETS[0]}"
	echo "$n $one $two $(<job.out) $by_fifo $letters $pasted $bracketed"
done
exec {BRACKETS[1]}>&-
wait
