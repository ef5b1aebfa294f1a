#!/bin/bash
# LVM's column lv_merging is empty for a thin volume that a merge waits for.
#
# `lvconvert --merge` of a snapshot whose origin is open is put off until the origin is next activated: whatever is
# written to the origin until then is lost. `lvs -o lv_merging` tells so of a classic origin ("merging"), and not of a thin
# one; there only the first letter of lv_attr (O instead of V) does, or the row of the hidden snapshot.
# Seen with LVM 2.03.16 (Debian 12) and 2.03.31 (Debian 13).
#
# Needs root, lvm2, thin-provisioning-tools, and a kernel with device-mapper and loop devices, such as a virtual machine
# that nobody needs: it makes a volume group on a loop device, and removes it. With LVM of another version it still
# compares, and says which version it is. Exits 0 where the behaviour is as said, 1 where it has changed.
set -euo pipefail
work=$(mktemp -d -p /run)
group=finding-$$
loop='' holder=''
clean_up() {
  [[ -z $holder ]] || kill "$holder" 2>/dev/null || true
  wait 2>/dev/null || true
  vgremove -qq -ff -y "$group" >/dev/null 2>&1 || true
  [[ -z $loop ]] || losetup -d "$loop"
  rm -rf "$work"
}
trap clean_up EXIT
truncate -s 128M "$work/disk"
loop=$(losetup --find --show "$work/disk")
vgcreate -qq -y -s 1M "$group" "$loop"
lvcreate -qq -y -Zn -Wn -n classic -L 8M "$group" 2>/dev/null
lvcreate -qq -y -s -n before-classic -L 8M "$group/classic"
lvcreate -qq -y -T -L 32M "$group/pool" 2>/dev/null
lvcreate -qq -y -V 8M -T "$group/pool" -n thin
lvcreate -qq -y -s -n before-thin "$group/thin"

sleep 60 8<"/dev/$group/classic" 9<"/dev/$group/thin" &
holder=$!
sleep 0.5
lvconvert -qq -y --merge "$group/before-classic" "$group/before-thin" >/dev/null 2>&1

column() { lvs --noheadings -o "$1" "$group/$2" | tr -d ' '; }
failed=0
check() { # check WHAT WANTED FOUND
  if [[ $2 == "$3" ]]; then echo "as said: $1: \"$3\""; else
    echo "CHANGED: $1: \"$3\" instead of \"$2\""
    failed=1
  fi
}
lvm version 2>/dev/null | sed -n 's/.*LVM version: */LVM /p'
check 'lv_merging of a classic origin' merging "$(column lv_merging classic)"
check 'lv_merging of a thin origin' '' "$(column lv_merging thin)"
check 'first letter of lv_attr of a classic origin' O "$(column lv_attr classic | cut -c1)"
check 'first letter of lv_attr of a thin origin' O "$(column lv_attr thin | cut -c1)"
exit $failed
