#!/bin/sh
# run.sh ROOT FOLDER COMMAND...: an aarch64 command in the root of root.sh, with FOLDER at its own path. Needs user namespaces.
set -eu
root=$1 folder=$2
shift 2
mkdir -p "$root$folder"
exec unshare --map-root-user --mount sh -c '
    root=$1 folder=$2
    shift 2
    for place in /proc /sys /dev "$folder"; do mount --rbind "$place" "$root$place"; done
    cd /
    exec env -i HOME=/tmp PATH=/usr/bin POCL_DEVICES="basic pthread" /usr/sbin/chroot "$root" /usr/bin/qemu-aarch64-static "$@"
' sh "$root" "$folder" "$@"
