#!/bin/bash
# A snapshot's merge changes what a logical volume holds, and no count of that volume shows it.
#
# `lvconvert --merge` of a classic snapshot writes below the origin's own device: when it is done, the device has the same
# number, the same diskseq and the same write counts in /sys/block/dm-N/stat as before, and other bytes. Who takes still
# counts for proof that nobody wrote is wrong there. What does change is the device below it (the links in
# /sys/block/dm-N/slaves).
# Seen with LVM 2.03.16 (Debian 12) and 2.03.31 (Debian 13) on Linux 7.2.7.
#
# Needs root, lvm2, and a kernel with device-mapper and loop devices, such as a virtual machine that nobody needs: it makes
# a volume group on a loop device, and removes it. Exits 0 where the behaviour is as said, 1 where it has changed.
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
truncate -s 64M "$work/disk"
loop=$(losetup --find --show "$work/disk")
vgcreate -qq -y -s 1M "$group" "$loop"
lvcreate -qq -y -Zn -Wn -n volume -L 8M "$group" 2>/dev/null
number() { echo "dm-$(dmsetup info -c --noheadings -o minor "${group//-/--}-volume")"; }
device=$(number)
dd if=/dev/zero of="/dev/$group/volume" bs=1M count=8 oflag=direct status=none

# sectors written (7th) and discarded (14th), and which device this is
counts() { awk '{ print $7, $14 }' "/sys/block/$device/stat" && cat "/sys/block/$device/diskseq"; }
content() { dd if="/dev/$group/volume" bs=1M iflag=direct status=none | sha256sum | cut -d' ' -f1; }
counts_before=$(counts)
content_before=$(content)

lvcreate -qq -y -s -n before -L 8M "$group/volume"
dd if=/dev/urandom of="/dev/$group/before" bs=4k count=16 oflag=direct status=none
lvconvert -qq -y --merge "$group/before" >/dev/null 2>&1
for _ in $(seq 100); do
  lvs "$group" >/dev/null 2>&1 # LVM looks after its merge
  dmsetup table "${group//-/--}-volume" | grep -q snapshot || break
  sleep 0.1
done
after=$(number)
counts_after=$(counts)

lvm version 2>/dev/null | sed -n 's/.*LVM version: */LVM /p'
uname -r
failed=0
check() { # check WHAT CONDITION…
  local what=$1
  shift
  if "$@"; then echo "as said: $what"; else
    echo "CHANGED: not so: $what"
    failed=1
  fi
}
check 'the volume holds other bytes' test "$content_before" != "$(content)"
check 'it is the same device' test "$device" = "$after"
check 'its counts of sectors written and discarded, and its diskseq, stand still' test "$counts_before" = "$counts_after"
exit $failed
