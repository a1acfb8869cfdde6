#!/bin/sh
# Make a signed apt repository of empty packages by the names of NVIDIA's, in two versions, below /srv/drivers.
# usage: make_repository.sh BRANCH VERSION...
set -eu
branch=$1; shift
root=/srv/drivers
mkdir -p $root
cd $root

package() { # NAME VERSION [SCRIPT]
  folder=$(mktemp -d)
  mkdir -p "$folder/DEBIAN"
  printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: stand-in\n' \
    "$1" "$2" > "$folder/DEBIAN/control"
  for unit in ${3:-}; do
    mkdir -p "$folder/usr/lib/systemd/system"
    printf '[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n' \
      > "$folder/usr/lib/systemd/system/$unit"
  done
  dpkg-deb --build --root-owner-group "$folder" "$root/$1_$2_all.deb" > /dev/null
  rm -r "$folder"
}

package "linux-headers-$(uname -r)" 1
for version; do
  for name in nvidia-kernel-open-dkms nvidia-kernel-dkms nvidia-driver-cuda; do package $name "$version-1"; done
  package nvidia-persistenced "$version-1" nvidia-persistenced.service
  package "nvidia-fabricmanager-$branch" "$version-1" nvidia-fabricmanager.service
  package "nvidia-driver-pinning-$version" 1
done
package "nvidia-driver-pinning-$branch" 1

apt-ftparchive packages . > Packages
apt-ftparchive release . > Release
export GNUPGHOME=/srv/keys
mkdir -p -m 700 $GNUPGHOME
gpg --batch --quiet --passphrase '' --quick-generate-key driver@example.org default default never
gpg --batch --quiet --armor --export driver@example.org > key.asc
gpg --batch --quiet --yes --armor --detach-sign --output Release.gpg Release
