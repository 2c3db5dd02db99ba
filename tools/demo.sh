#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# usage: demo.sh TORPOR
# Saves a running program, shows that it is gone, brings it back and shows that it carried on.
# Ends with 1 if anything was not so. What it starts and makes is gone afterwards in any case.
# In a pid namespace of its own where the kernel gives one: there all pids are free.
set -euo pipefail
TORPOR=$(realpath -- "${1:?usage: demo.sh TORPOR}")
PROGRAM=$(dirname -- "$(realpath -- "$0")")/demo-program.py
readonly TORPOR PROGRAM
readonly THREADS=8 CHILDREN=3 MIB=128

if [[ -t 1 ]]; then
	readonly BOLD=$'\e[1m' DIM=$'\e[2m' GREEN=$'\e[32m' RED=$'\e[31m' PLAIN=$'\e[0m'
else
	readonly BOLD='' DIM='' GREEN='' RED='' PLAIN=''
fi

root='' # pid of the program
dir=''

say() { printf '%s\n' "$*"; }
step() { printf '\n%s%s%s\n' "$BOLD" "$*" "$PLAIN"; }
good() { printf '   %sok%s  %s\n' "$GREEN" "$PLAIN" "$*"; }
fail() {
	printf '%s%s%s\n' "$RED" "demo: $*" "$PLAIN" >&2
	exit 1
}

# tree PID: it and everything below it
tree() {
	local pid children
	say "$1"
	children=$(cat "/proc/$1/task/"*/children 2>/dev/null || true)
	for pid in $children; do
		tree "$pid"
	done
}

# is_ours PID: whether the task with that pid is the program of this demo
is_ours() { grep -qsF -- "$PROGRAM" "/proc/$1/cmdline"; }

clean() {
	local pid
	if [[ $root ]]; then
		for pid in $(tree "$root"); do
			! is_ours "$pid" || kill -KILL "$pid" 2>/dev/null || true
		done
	fi
	[[ ! $dir ]] || rm -rf -- "$dir"
}

# until_true SECONDS COMMAND...: tries until it succeeds
until_true() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		((SECONDS < end)) || return 1
		sleep 0.05
	done
}

is_gone() { [[ ! -e /proc/$1 ]]; }
last_tick() { grep -E '^[0-9]+ [0-9]+$' "$dir/output" | tail -n 1; }
has_ticks() { (($(wc -l <"$dir/output") >= $1)); }
has_verdict() { grep -qE '^(right|wrong)' "$dir/output"; }

# show_tree PIDS: a line for each task
show_tree() {
	local pid threads
	for pid in "$@"; do
		threads=$(grep -c . <(ls "/proc/$pid/task"))
		printf '   %spid %-6s %-8s %2d thread%s%s\n' "$DIM" "$pid" "$(cat "/proc/$pid/comm")" \
			"$threads" "$( ((threads == 1)) || echo s)" "$PLAIN"
	done
}

# figure NAME FILE: a number of the JSON object torpor printed
figure() { sed -n "s/.*\"$1\": \([0-9]*\).*/\1/p" "$2"; }
# seconds MICROSECONDS, mebibytes BYTES: as people read them
seconds() { awk -v us="$1" 'BEGIN { printf "%.3f s", us / 1e6 }'; }
mebibytes() { awk -v n="$1" 'BEGIN { printf "%.0f MiB", n / 1048576 }'; }

# torpor JSON WORDS...: says the command, runs it, keeps the JSON it prints
torpor() {
	local json=$1
	shift
	say "   ${BOLD}\$ torpor $*${PLAIN}"
	"$TORPOR" "$@" -D "$dir/images" -o "$1.log" -v4 --json >"$json" ||
		fail "torpor $1 failed: $(tail -n 5 "$dir/images/$1.log" 2>/dev/null)"
}

start_program() {
	step "1. A program starts: python3 with threads, children, pipes and $MIB MiB of random memory"
	: >"$dir/output"
	setsid /usr/bin/python3 "$PROGRAM" $THREADS $CHILDREN $MIB <"/dev/null" >>"$dir/output" 2>&1 &
	root=$!
	disown "$root" # or the shell would say that it was killed
	until_true 120 has_ticks 10 || fail "the program did not start: $(cat "$dir/output")"
	mapfile -t pids < <(tree "$root")
	((${#pids[@]} == CHILDREN + 1)) || fail "${#pids[@]} tasks, not $((CHILDREN + 1))"
	show_tree "${pids[@]}"
	good "it has computed $(last_tick | cut -d ' ' -f 2) steps of $((THREADS + CHILDREN)) hash chains"
}

dump_program() {
	step "2. It is saved and ended"
	torpor "$dir/dump.json" dump -t "$root"
	before=$(last_tick)
	good "$(figure pages_written "$dir/dump.json") pages saved; stopped for" \
		"$(seconds "$(figure frozen_us "$dir/dump.json")"), then ended"
}

show_gone() {
	local pid
	step "3. It is gone; what is left are files"
	for pid in "${pids[@]}"; do
		until_true 120 is_gone "$pid" || fail "task $pid is still there"
	done
	good "no task ${pids[*]} any more"
	good "$(find "$dir/images" -name '*.img' | wc -l) image files," \
		"$(mebibytes "$(figure image_bytes "$dir/dump.json")")"
}

restore_program() {
	step "4. It comes back"
	torpor "$dir/restore.json" restore -d
	mapfile -t again < <(tree "$root")
	[[ ${again[*]} == "${pids[*]}" ]] || fail "the tasks are ${again[*]}, not ${pids[*]}"
	show_tree "${again[@]}"
	good "same pids, same threads"
}

check_program() {
	local ticks expected after
	step "5. It carried on"
	ticks=$(wc -l <"$dir/output")
	until_true 120 has_ticks $((ticks + 10)) || fail "the program does not go on"
	after=$(last_tick)
	good "step ${before#* } when it was saved, step ${after#* } now"
	kill -TERM "$root"
	until_true 120 has_verdict || fail "the program does not answer"
	[[ $(tail -n 1 "$dir/output") == right ]] || fail "the program is $(tail -n 1 "$dir/output")"
	good "every hash chain is right to the last step, the memory is as it was"
	expected=$(seq "$(grep -cE '^[0-9]+ ' "$dir/output")")
	[[ $(grep -E '^[0-9]+ ' "$dir/output" | cut -d ' ' -f 1) == "$expected" ]] ||
		fail "lines of its output are missing or there twice"
	good "no line of its output is missing or there twice"
}

summary() {
	printf '\n%s%d tasks, %d threads, %s of memory, frozen %s, restored in %s%s\n' "$BOLD$GREEN" \
		"$(figure tasks "$dir/dump.json")" "$(figure threads "$dir/dump.json")" \
		"$(mebibytes $(($(figure pages_written "$dir/dump.json") * 4096)))" \
		"$(seconds "$(figure frozen_us "$dir/dump.json")")" \
		"$(seconds "$(figure total_us "$dir/restore.json")")" "$PLAIN"
}

((EUID == 0)) || fail "this needs root: sudo make demo"
[[ -x $TORPOR ]] || fail "there is no $TORPOR; 'make' builds it"
if [[ -z ${TORPOR_DEMO_INSIDE-} ]] && unshare --pid --fork --mount-proc true 2>/dev/null; then
	export TORPOR_DEMO_INSIDE=1
	exec unshare --pid --fork --kill-child --mount-proc "$0" "$@"
fi
trap clean EXIT
trap 'exit 130' INT TERM HUP
dir=$(mktemp -d)
mkdir "$dir/images"
start_program
dump_program
show_gone
restore_program
check_program
summary
