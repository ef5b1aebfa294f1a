#!/bin/bash
# What /sys/block/dm-N/queue/iostats says of a device-mapper device depends on the kernel, and so does what it does.
#
#   Linux 6.1.176 (Debian 12)     0 from the start, and the kernel counts all the same (fields of /sys/block/dm-N/stat)
#   Linux 7.2.7 (Debian forky)    1 from the start; with 0 nothing is counted
# So "0 means that nobody counts" is wrong for each logical volume of a 6.1 host, and "dm always counts" is wrong on 7.2.
# What tells is a read past the page cache: the count of sectors read moves, or not.
#
# Needs root, dmsetup, and a kernel with device-mapper and loop devices, such as a virtual machine that nobody needs. Exits
# 0 where the behaviour is as said, 1 where it has changed, 2 on a kernel of which nothing is said here (it tells what it
# found).
set -euo pipefail
work=$(mktemp -d -p /run)
loop=''
clean_up() {
  dmsetup remove finding >/dev/null 2>&1 || true
  [[ -z $loop ]] || losetup -d "$loop"
  rm -rf "$work"
}
trap clean_up EXIT
truncate -s 16M "$work/disk"
loop=$(losetup --find --show "$work/disk")
dmsetup create finding --table "0 32768 linear $loop 0"
device=$(basename "$(readlink -f "/sys/dev/block/$(dmsetup info -c --noheadings --separator : -o major,minor finding | tr -d ' ')")")

counts_a_write() {
  local before after
  before=$(awk '{print $7}' "/sys/block/$device/stat")
  dd if=/dev/zero of=/dev/mapper/finding bs=64k count=1 oflag=direct status=none
  after=$(awk '{print $7}' "/sys/block/$device/stat")
  [[ $((after - before)) == 128 ]] && echo yes || echo no
}
found="iostats $(cat "/sys/block/$device/queue/iostats") from the start"
echo 0 >"/sys/block/$device/queue/iostats"
found+="; with 0 it counts: $(counts_a_write)"
echo 1 >"/sys/block/$device/queue/iostats"
found+="; with 1 it counts: $(counts_a_write)"
echo "Linux $(uname -r): $found"
case $(uname -r) in
  6.1.*) said='iostats 0 from the start; with 0 it counts: yes; with 1 it counts: yes' ;;
  7.2.*) said='iostats 1 from the start; with 0 it counts: no; with 1 it counts: yes' ;;
  *) exit 2 ;;
esac
[[ $found == "$said" ]] && echo 'as said' || { echo "CHANGED: it was: $said"; exit 1; }
