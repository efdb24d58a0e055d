# shellcheck shell=sh disable=SC2154 # the variables are those of squash-node
# What speaks against a disk. Nothing here writes to one but `clear_ends`.

# Bytes at each end of a disk in which formats keep their heads.
end_bytes=1048576

# Every reason why a disk must not be taken, a line each.
against_disk() {
    case $1 in
        /dev/*) ;;
        *)
            say "$1 is not a path below /dev"
            return
            ;;
    esac
    if ! found=$(readlink -e -- "$1"); then
        say "$1 does not exist"
        return
    fi
    if [ ! -b "$found" ]; then
        say "$1 is not a block device"
        return
    fi
    against_kind "$1" "$found"
    against_use "$1" "$found"
    against_content "$1" "$found"
}

against_kind() {
    case $(lsblk --nodeps --noheadings --output TYPE -- "$2" | tr -d ' ') in
        disk) ;;
        loop) [ "$ALLOW_LOOP" = yes ] || say "$1 is a loop device" ;;
        part) say "$1 is a partition: give a whole disk" ;;
        *) say "$1 is not a disk but $(lsblk --nodeps --noheadings --output TYPE -- "$2")" ;;
    esac
    [ "$(blockdev --getro "$2")" = 0 ] || say "$1 is read-only"
    size=$(blockdev --getsize64 "$2")
    least=$((MIN_DISK_GIB * 1073741824))
    [ "$size" -ge "$least" ] || say "$1 has $size bytes, less than MIN_DISK_GIB ($MIN_DISK_GIB GiB)"
}

against_use() {
    # Partitions, and what is built on it: LVM, RAID, encryption.
    lsblk --noheadings --raw --output NAME,TYPE -- "$2" | sed 1d | while read -r name type; do
        say "$1 is in use: it carries $name ($type)"
    done
    lsblk --noheadings --raw --output MOUNTPOINTS -- "$2" | grep . | while read -r point; do
        say "$1 is in use: mounted at $point"
    done
    find "/sys/class/block/${2##*/}/holders" -mindepth 1 | while read -r holder; do
        say "$1 is in use: held by ${holder##*/}"
    done
    # What uses it raw, as a virtual machine or a database does.
    opener=$(find /proc -mindepth 3 -maxdepth 3 -path '/proc/[0-9]*/fd/*' -lname "$2" 2>/dev/null | head -n 1 | cut -d / -f 3)
    [ -z "$opener" ] || say "$1 is in use: process $opener has it open"
}

against_content() {
    if ! signatures=$(wipefs --noheadings --output TYPE -- "$2" 2>"$scratch/wipefs"); then
        say "$1 cannot be read: $(head -n 1 "$scratch/wipefs")"
        return
    fi
    if [ -n "$signatures" ]; then
        say "$1 holds something: $(printf '%s' "$signatures" | sort -u | tr '\n' ' ' | sed 's/ $//')"
        return
    fi
    # No known format, and yet not empty: encrypted without a header, or a database's own.
    if ! ends_are_zero "$2"; then
        say "$1 holds data of no known format; if it is nothing: blkdiscard $1, or write zeros to it"
    fi
}

ends_are_zero() {
    blocks=$(($(blockdev --getsize64 "$1") / end_bytes))
    [ "$blocks" -gt 0 ] || return 1
    is_zero "$1" 0 && is_zero "$1" $((blocks - 1))
}

# Whether the end that begins at this multiple of its length has zeros alone.
is_zero() {
    dd if="$1" bs="$end_bytes" skip="$2" count=2 status=none | tr -d '\0' | head -c 1 | wc -c | grep -qx 0
}

# Leaves a disk as `against_disk` wants it. Only for one that was ours and that carries nothing now.
clear_ends() {
    size=$(blockdev --getsize64 "$1")
    blocks=$((size / end_bytes))
    run dd if=/dev/zero of="$1" bs="$end_bytes" count=2 conv=fsync,nocreat status=none
    # The last whole one, and what is left after it.
    run dd if=/dev/zero of="$1" bs=4096 seek=$(((blocks - 1) * 256)) count=$(((size - (blocks - 1) * end_bytes) / 4096)) conv=fsync,nocreat status=none
}

scheduler_of() {
    name=$(readlink -e -- "$1")
    sed -n 's/.*\[\(.*\)\].*/\1/p' "/sys/class/block/${name##*/}/queue/scheduler"
}
