#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Installs the Debian packages of packages.txt that are missing. Nothing is asked, and nothing is
# downloaded when all of them are there.
set -euo pipefail
cd "$(dirname "$0")"

missing=()
while read -r name _; do
	[[ -z $name || $name == \#* ]] && continue
	status=$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null || true)
	[[ $status == installed ]] || missing+=("$name")
done <packages.txt

((${#missing[@]})) || exit 0
if ((EUID != 0)); then
	echo "These packages are missing; run 'sudo make deps': ${missing[*]}" >&2
	exit 1
fi
echo "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -q || echo "apt-get update failed; trying what is known" >&2
apt-get install -q -y --no-install-recommends "${missing[@]}"
