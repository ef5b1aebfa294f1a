#!/bin/bash
# `lvcreate -s -ay` of a thin snapshot that volume_list keeps from being activated exits 0, with the snapshot inactive.
#
# activation/volume_list in lvm.conf limits what LVM activates on a host. A thick volume that it leaves out cannot be
# made with -ay (it could not be wiped: exit status 5); a thin snapshot is made, and the command succeeds without having
# activated it, though -ay and -K (--ignoreactivationskip) asked for that.
# Seen with LVM 2.03.16 (Debian 12) and 2.03.31 (Debian 13).
#
# Needs root, lvm2, thin-provisioning-tools, and a kernel with device-mapper and loop devices, such as a virtual machine
# that nobody needs: it makes a volume group on a loop device, and removes it. Exits 0 where the behaviour is as said, 1
# where it has changed.
set -euo pipefail
work=$(mktemp -d -p /run)
group=finding-$$
loop=''
clean_up() {
  vgremove -qq -ff -y "$group" >/dev/null 2>&1 || true
  [[ -z $loop ]] || losetup -d "$loop"
  rm -rf "$work"
}
trap clean_up EXIT
truncate -s 128M "$work/disk"
loop=$(losetup --find --show "$work/disk")
vgcreate -qq -y -s 1M "$group" "$loop"
lvcreate -qq -y -T -L 32M "$group/pool" 2>/dev/null
lvcreate -qq -y -V 8M -T "$group/pool" -n volume

limit="activation { volume_list = [ \"$group/volume\", \"$group/pool\" ] }"
status_of() { # status_of COMMAND…
  if "$@" >/dev/null 2>&1; then echo 0; else echo $?; fi
}
thin=$(status_of lvcreate -y -s -ky -K -ay -n frozen "$group/volume" --config "$limit")
thick=$(status_of lvcreate -y -ay -n thick -L 8M "$group" --config "$limit")
failed=0
check() { # check WHAT WANTED FOUND
  if [[ $2 == "$3" ]]; then echo "as said: $1: \"$3\""; else
    echo "CHANGED: $1: \"$3\" instead of \"$2\""
    failed=1
  fi
}
lvm version 2>/dev/null | sed -n 's/.*LVM version: */LVM /p'
check 'exit status for a thin snapshot' 0 "$thin"
check 'whether that is active' '' "$(lvs --noheadings -o lv_active "$group/frozen" | tr -d ' ')"
check 'exit status for a thick volume' 5 "$thick"
exit $failed
