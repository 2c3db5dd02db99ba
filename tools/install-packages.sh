#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# usage: install-packages.sh [build [NAME...] | programs]
# Installs the Debian packages of packages.txt that are missing: those of the build and the tests,
# with "build" only the former and those named, with "programs" also those of make check-programs.
# Nothing is asked, and nothing is downloaded when all are there. Packages only tests need may fail
# to install: those tests say so and are skipped.
set -euo pipefail
cd "$(dirname "$0")"
wanted=${1:-all}
named=("${@:2}")

is_missing() {
	local status
	status=$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null || true)
	[[ $status != installed ]]
}

# missing KIND: names of packages of that kind which are not installed
missing() {
	local name kind rest
	while read -r name kind rest; do
		[[ $kind == "$1" && $name != \#* ]] || continue
		! is_missing "$name" || echo "$name"
	done <packages.txt
}

# install NAMES: as root, or says what to do
install() {
	if ((EUID != 0)); then
		echo "These packages are missing; as root:" >&2
		echo "  apt-get install --no-install-recommends $*" >&2
		return 1
	fi
	echo "installing $*"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -q || echo "apt-get update failed; going on with what is known" >&2
	apt-get install -q -y --no-install-recommends "$@"
}

if ! command -v dpkg-query >/dev/null; then
	echo "This is no Debian system; what is needed stands in tools/packages.txt." >&2
	exit 0
fi
mapfile -t build < <(
	missing build
	for name in "${named[@]}"; do
		! is_missing "$name" || echo "$name"
	done
)
mapfile -t test < <(
	[[ $wanted == build ]] || missing test
	[[ $wanted != programs ]] || missing program
)
if ((${#build[@]})); then
	install "${build[@]}"
fi
if ((${#test[@]})) && ! install "${test[@]}"; then
	echo "going on without them: their tests are skipped" >&2
fi
