#!/bin/sh
# Proves the Dockerfile where no image can be pulled: makes the build image from Debian's packages and the Rust toolchain in
# use, builds every target with buildah, and writes them as OCI layouts. Needs root, buildah and debootstrap.
# Usage: build-with-buildah.sh FOLDER [MIRROR]
# TARGET lends a folder of earlier builds, such as target/image after `cargo xtask image`: then nothing is built again, and
# what is proved is all the rest of the Dockerfile.
set -eu
folder=${1:?usage: build-with-buildah.sh FOLDER [MIRROR]}
mirror=${2:-}
source=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
# At the same path inside, or cargo would take its packages for others and build them again.
cargo_home=${CARGO_HOME:-$HOME/.cargo}
# A store of its own, removed at the end with everything in it.
export CONTAINERS_STORAGE_CONF="$folder/storage.conf"
cat > "$CONTAINERS_STORAGE_CONF" <<END
[storage]
driver = "overlay"
graphroot = "$folder/storage"
runroot = "$folder/storage-run"
END
trap 'buildah rm --all > /dev/null; buildah rmi --all --force > /dev/null; rm -rf "$folder/root" "$folder/storage" "$folder/storage-run"' EXIT

debootstrap --variant=minbase --include=gcc,libc6-dev,ca-certificates bookworm "$folder/root" $mirror > "$folder/debootstrap.log"
mkdir -p "$folder/root/opt/rust"
# Its documentation is half of a toolchain.
tar -C "$(cd "$source" && rustc --print sysroot)" --exclude=share -cf - . | tar -C "$folder/root/opt/rust" -xf -

container=$(buildah from scratch)
buildah add --quiet "$container" "$folder/root" /
buildah config --env PATH=/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --env "CARGO_HOME=$cargo_home" "$container"
buildah commit --quiet --rm "$container" localhost/rust-build

for target in worker operator command; do
	# Without a daemon there is no cache to share, so cargo's own packages are lent, and what TARGET names.
	buildah bud --isolation chroot --network host --layers --volume "$cargo_home:$cargo_home" \
		${TARGET:+--volume "$TARGET:$source/target"} \
		--build-arg BUILD_IMAGE=localhost/rust-build --build-arg "SOURCE=$source" --target "$target" --tag "localhost/unbloat-$target" "$source"
	rm -rf "$folder/$target"
	buildah push --quiet "localhost/unbloat-$target" "oci:$folder/$target:latest"
	size=$(cat "$folder/$target"/blobs/sha256/* | wc -c)
	echo "unbloat-$target: $((size / 1024)) KiB compressed, in $folder/$target"
	case $target in worker | command) limit=15 ;; *) limit=20 ;; esac
	if [ "$size" -gt $((limit << 20)) ]; then
		echo "unbloat-$target is larger than its limit of $limit MiB" >&2
		exit 1
	fi
done
