#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# usage: build.sh FILES
# A parallel make with its job server, archives through pipes, then a git repository which is
# filled, branched, merged and packed.
set -eu
export TMPDIR=. LC_ALL=C
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
export GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z'

mkdir src
for ((n = 0; n < $1; n++)); do
	{
		echo "#include <string.h>"
		for ((i = 0; i < 30; i++)); do
			echo "unsigned f${n}_$i(unsigned x) { return x * $((n * 31 + i)) ^ x >> $((i % 13)); }"
		done
	} >"src/f$n.c"
done
{
	echo '#include <stdio.h>'
	for ((n = 0; n < $1; n++)); do echo "unsigned f${n}_7(unsigned x);"; done
	echo 'int main(void) { unsigned x = 1;'
	for ((n = 0; n < $1; n++)); do echo "x += f${n}_7(x);"; done
	echo 'printf("%u\n", x); return 0; }'
} >src/main.c
cat >src/Makefile <<'M'
objects := $(patsubst %.c,%.o,$(sort $(wildcard *.c)))
whole: $(objects)
	$(CC) -o $@ $^
%.o: %.c
	$(CC) -O2 -c $< -o $@
M
make -s -j3 -C src
src/whole
tar --sort=name --mtime=@0 --owner=0 --group=0 -cf - src | gzip -9n | tee archive.tgz | sha256sum
rm src/*.o src/whole
mkdir copy
gunzip -c archive.tgz | tar -xf - -C copy
git init -q -b main repository
cd repository
for ((n = 0; n < $1; n += 5)); do
	cp ../copy/src/f[$((n % 10))]*.c .
	sed -i "s/string/strings/; s/x \* /x * $n + x * /" f*.c
	git add .
	git commit -q -m "commit $n"
	((n % 3)) || { git branch "b$n" HEAD~0 && git tag "t$n"; }
done
git gc -q --aggressive --prune=now
git fsck --full 2>&1
git log --format=%H%n%T
git ls-tree -r HEAD
