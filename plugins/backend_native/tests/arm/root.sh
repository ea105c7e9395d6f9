#!/bin/sh
# root.sh FOLDER: a root file system for aarch64 with PoCL in FOLDER, from Debian's packages: 85 MB to fetch, 0.5 GB on disk.
# Nothing is installed on this machine: it needs apt, dpkg-deb and qemu-user-static, and fetches the rest.
set -eu
root=$1
qemu=/usr/bin/qemu-aarch64-static
test ! -e "$root" || exit 0
test -x $qemu || { echo "needs $qemu (Debian: qemu-user-static)" >&2; exit 1; }

# Packages of another architecture, with a state of their own: added to this machine's they would remove its compilers.
state=$root.apt
mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$state/host" "$root.part"
: > "$state/status"
foreign() {
    apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Install-Recommends=false -o APT::Sandbox::User=root \
        -o Dir::State::status="$state/status" -o Dir::State::lists="$state/lists" -o Dir::Cache="$state/cache" "$@"
}
foreign update
foreign install --download-only -y libpocl2 pocl-opencl-icd ocl-icd-libopencl1 libc6 libcjson-dev
(cd "$state/host" && apt-get -qq download busybox-static)
for package in "$state"/cache/archives/*.deb; do dpkg-deb -x "$package" "$root.part"; done
dpkg-deb -x "$state"/host/busybox-static_*.deb "$state/host"

# PoCL runs the linker. Where the kernel does not know aarch64's programs it needs the emulator in front.
cp $qemu "$root.part/usr/bin/qemu-aarch64-static"
cp "$state/host/bin/busybox" "$root.part/usr/bin/busybox"
for name in ld aarch64-linux-gnu-ld; do
    rm -f "$root.part/usr/bin/$name"
    printf '#!/usr/bin/busybox sh\nexec %s /usr/bin/aarch64-linux-gnu-ld.bfd "$@"\n' $qemu > "$root.part/usr/bin/$name"
    chmod +x "$root.part/usr/bin/$name"
done
for name in bin sbin lib; do test -e "$root.part/$name" || ln -s "usr/$name" "$root.part/$name"; done
mkdir -p "$root.part/proc" "$root.part/sys" "$root.part/dev" "$root.part/tmp" "$root.part/work"
rm -rf "$state"
mv "$root.part" "$root"
