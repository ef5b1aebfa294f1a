#!/bin/bash
# LVM 2.03.31, asked for JSON, says what went wrong in the JSON and nowhere else: standard error is empty.
#
# `lvs --reportformat json VG/LV`, where there is no such volume group:
#   LVM 2.03.16 (Debian 12)   {"report": [{"lv": []}]}, and `Volume group "…" not found` on standard error
#   LVM 2.03.31 (Debian 13)   the same words in an array "log" beside "report"; standard error has nothing
# Both exit 5. A script that shows standard error where lvs fails shows nothing on Debian 13, and one that tells
# "no such volume" from other failures by those words takes every failure for another one.
# With --config 'log/report_command_log=0' they are on standard error again, in both.
#
# Needs apt-get, dpkg, python3, and the keyring of Debian's archive. Writes only to a temporary folder; no root, no LVM
# on this machine, and no device is looked at. Exits 0 where the behaviour is as said, 1 where it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
archive=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' | sed -n 's/^Debian //p' | head -1)
[[ -n $archive ]] || { echo 'apt-get knows no archive of Debian: run apt-get update first'; exit 2; }

# Fetches packages of a release and unpacks them: fetch RELEASE PACKAGE…
fetch() {
  local place=$work/$1 release=$1
  shift
  mkdir -p "$place"/{lists/partial,packages,root}
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive $release main" >"$place/sources"
  local settings=(-o "Dir::Etc::sourcelist=$place/sources" -o Dir::Etc::sourceparts=- -o "Dir::State::Lists=$place/lists"
    -o Dir::State::status=/dev/null -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root)
  apt-get "${settings[@]}" -q update >/dev/null
  (cd "$place/packages" && apt-get "${settings[@]}" -q download "$@" >/dev/null)
  for file in "$place"/packages/*.deb; do dpkg -x "$file" "$place/root"; done
}
both=(lvm2 libdevmapper1.02.1 libdevmapper-event1.02.1 libedit2 libsystemd0 libblkid1 libselinux1 libudev1 libc6 libtinfo6
  libbsd0 libcap2 libgcrypt20 liblzma5 libzstd1 liblz4-1 libpcre2-8-0 libmd0 libgpg-error0)
fetch bookworm "${both[@]}" libaio1
fetch trixie "${both[@]}" libaio1t64

# Runs a release's lvm: lvm RELEASE WORD…
lvm() {
  local root=$work/$1/root loader
  loader=$(find "$root" -name 'ld-linux-x86-64.so.2' -type f | head -1)
  shift
  LVM_SUPPRESS_FD_WARNINGS=1 LC_ALL=C LVM_SYSTEM_DIR=$work "$loader" \
    --library-path "$root/usr/lib/x86_64-linux-gnu:$root/lib/x86_64-linux-gnu" \
    "$(find "$root" -path '*sbin/lvm' -type f | head -1)" "$@"
}
mkdir "$work/none"
nowhere="devices { scan=[ \"$work/none\" ] use_devicesfile=0 } global { locking_dir=\"$work\" }"

failed=0
check() { # check WHAT WANTED FOUND
  if [[ $2 == "$3" ]]; then echo "as said: $1: $3"; else
    echo "CHANGED: $1: $3 instead of $2"
    failed=1
  fi
}
for release in bookworm:2.03.16:stderr trixie:2.03.31:log; do
  IFS=: read -r name version where <<<"$release"
  check "version in $name" "$version" "$(lvm "$name" version 2>/dev/null | sed -n 's/.*LVM version: *\([0-9.]*\).*/\1/p')"
  status=0
  lvm "$name" lvs --reportformat json --config "$nowhere" -- nosuch/volume >"$work/out" 2>"$work/err" || status=$?
  check "status of $version" 5 "$status"
  found=none
  grep -q 'Volume group "nosuch" not found' "$work/err" && found=stderr
  python3 -c '
import json, sys
sys.exit(not any("Volume group \"nosuch\" not found" in x["log_message"] for x in json.load(open(sys.argv[1])).get("log", [])))
' "$work/out" && found+=log
  check "where $version says why" "$where" "${found#none}"
  lvm "$name" lvs --reportformat json --config "$nowhere log/report_command_log=0" -- nosuch/volume \
    >"$work/out" 2>"$work/err" || true
  check "the same with log/report_command_log=0" yes "$(grep -q 'not found' "$work/err" && echo yes || echo no)"
done
exit $failed
