#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Increments, page servers and lazy restores of torpor and of a criu that works on this kernel, mixed in every way.
# Run as root: tests/compat/criu-interop.sh BUILD_DIRECTORY. HEADER=24 for criu before 4.2.
set -u
build=$(realpath "$1")
torpor=$build/torpor
where=$(mktemp -d)
trap 'rm -rf "$where"' EXIT
failed=0
export PATH=$PATH:/usr/sbin

start() { # the subject, ready
	rm -f "$where/result"
	setsid "$build/tests/live/mem_stack_brk" "$where/result" </dev/null >/dev/null 2>&1 &
	for _ in $(seq 100); do grep -qs ready "$where/result" && break; sleep 0.1; done
	pid=$!
	disown
}
finish() { # it verifies itself
	kill -TERM "$pid"
	for _ in $(seq 100); do grep -qs 'PASS\|FAIL' "$where/result" && break; sleep 0.1; done
	echo "$1: $(tail -1 "$where/result")"
	grep -qs PASS "$where/result" || failed=1
}
folders() { for d in "$@"; do rm -rf "${where:?}/$d"; mkdir "$where/$d"; done; }
try() { "$@" >"$where/out" 2>&1 || { echo "FAILED: $*"; tail -5 "$where/out"; failed=1; }; }
step() { # TOOL COMMAND FOLDER [PREVIOUS]
	try "$1" "$2" -t "$pid" -D "$where/$3" -o log ${4:+--prev-images-dir "../$4"} \
		$([ "$2" = dump ] && [ "$1" = criu ] && echo --track-mem)
}

cd "$where" || exit 2
for makers in "criu criu criu" "$torpor $torpor $torpor" "criu $torpor criu" "$torpor criu $torpor"; do
	for reader in criu "$torpor"; do
		set -- $makers
		start
		folders a b c
		step "$1" pre-dump a
		step "$2" pre-dump b a
		step "$3" dump c b
		size=$(stat -c %s c/pages-1.img)
		try "$reader" restore -d -D c -o restore.log
		finish "chain of ${makers//$torpor/torpor}, last step $size bytes, restored by $(basename "$reader")"
	done
done
for sides in "criu $torpor" "$torpor criu"; do
	set -- $sides
	start
	folders images server
	"$2" page-server -D server --port 7001 -o log >/dev/null 2>&1 &
	for _ in $(seq 100); do grep -qs ':1B59 .* 0A ' /proc/net/tcp* && break; sleep 0.1; done
	try "$1" dump -t "$pid" -D images -o log --page-server --address 127.0.0.1 --port 7001 \
		$([ "$1" = "$torpor" ] && echo --page-header "${HEADER:-24}")
	wait $!
	cp server/*.img images
	try "$2" restore -d -D images -o restore.log
	finish "dump by $(basename "$1") to the page server of $(basename "$2")"
done

# lazily, from images
for sides in "criu $torpor" "$torpor criu"; do
	set -- $sides
	start
	folders images
	try "$torpor" dump -t "$pid" -D images -o log
	"$1" lazy-pages -D images -o lazy.log -v4 >lazy.out 2>&1 &
	daemon=$!
	for _ in $(seq 100); do [ -S images/lazy-pages.socket ] && break; sleep 0.1; done
	try "$2" restore -d -D images -o restore.log --lazy-pages
	sleep 1
	finish "restore by $(basename "$2"), pages by the daemon of $(basename "$1")"
	wait $daemon || { echo "the daemon failed: $(tail -3 images/lazy.log)"; failed=1; }
done

# lazily, from tasks that stand still elsewhere; 3 are the helpers in the other pid namespace
echo 500 >/proc/sys/kernel/ns_last_pid
for sides in "criu $torpor" "$torpor criu" "criu criu"; do
	set -- $sides
	start
	folders images
	"$1" dump -t "$pid" -D images -o log -v4 --lazy-pages --address 127.0.0.1 --port 7003 >lazy.out 2>&1 &
	dump=$!
	for _ in $(seq 100); do grep -qs ':1B5B .* 0A ' /proc/net/tcp* && [ -e images/inventory.img ] && break; sleep 0.1; done
	export reader=$2 pid
	unshare --pid --fork --mount-proc bash -c '
		"$reader" lazy-pages -D images -o lazy.log -v4 --page-server --address 127.0.0.1 --port 7003 \
			'"$([ "$2" = "$torpor" ] && echo --page-header "${HEADER:-24}")"' &
		daemon=$!
		for _ in $(seq 100); do [ -S images/lazy-pages.socket ] && break; sleep 0.1; done
		"$reader" restore -d -D images -o restore.log --lazy-pages || exit 1
		sleep 1
		kill -TERM "$pid"
		for _ in $(seq 200); do grep -qs "PASS\|FAIL" result && break; sleep 0.1; done
		wait $daemon' >out 2>&1 || { echo "FAILED: $(tail -3 out images/restore.log images/lazy.log)"; failed=1; }
	wait $dump || { echo "the dump failed: $(tail -3 images/log)"; failed=1; }
	echo "dump by $(basename "$1") goes on elsewhere by $(basename "$2"): $(tail -1 result)"
	grep -qs PASS result || failed=1
done
exit $failed
