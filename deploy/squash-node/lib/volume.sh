# shellcheck shell=sh disable=SC2154 # the variables are those of squash-node
# The volume over the disks, its file system, and where it is mounted.

# `none`, `ours`, or `foreign`: a group of that name without our tag.
volume() {
    vgs --noheadings --options vg_name,vg_tags --select "vg_name=$VG" >"$scratch/vgs" || stop "LVM does not answer"
    if ! grep -q . "$scratch/vgs"; then
        echo none
    elif sed 's/[ ,]/\n/g' "$scratch/vgs" | grep -Fqx "$TAG"; then
        echo ours
    else
        echo foreign
    fi
}

# The disks of the group.
members() {
    pvs --noheadings --options pv_name --select "vg_name=$VG" | tr -d ' '
}

resolved() {
    for disk in "$@"; do
        readlink -m -- "$disk"
    done | sort
}

against_volume() {
    # shellcheck disable=SC2086 # DISKS is a list of words
    resolved $DISKS >"$scratch/wanted"
    uniq -d "$scratch/wanted" | sed 's/$/ is named twice/'
    group=$(volume)
    case $group in
        ours)
            # shellcheck disable=SC2046
            resolved $(members) >"$scratch/members"
            if ! cmp -s "$scratch/wanted" "$scratch/members"; then
                say "the volume group $VG lies on $(tr '\n' ' ' <"$scratch/members")and not on the disks in DISKS; undo it first"
            fi
            ;;
        foreign) say "there is a volume group $VG that is not ours (it lacks the tag $TAG): choose another VG" ;;
        none)
            for disk in $DISKS; do
                against_disk "$disk"
            done
            ;;
    esac
}

make_volume() {
    group=$(volume)
    if [ "$group" = none ]; then
        # shellcheck disable=SC2086
        run vgcreate --addtag "$TAG" "$VG" $DISKS
    fi
    if [ -z "$(lvs --noheadings --options lv_name --select "vg_name=$VG && lv_name=$LV")" ]; then
        # shellcheck disable=SC2086
        count=$(count_words $DISKS)
        set -- --type linear
        [ "$count" = 1 ] || set -- --type striped --stripes "$count" --stripesize "${STRIPE_KIB}k"
        # What an earlier volume left within the disks is nobody's any more.
        run lvcreate --yes --wipesignatures y --zero y "$@" --extents 100%FREE --name "$LV" "$VG"
    fi
}

make_file_system() {
    kind=
    [ ! -b "$device" ] || kind=$(blkid --probe --match-tag TYPE --output value "$device" || true)
    case $kind in
        xfs) ;;
        '')
            # shellcheck disable=SC2086
            count=$(count_words $DISKS)
            set --
            [ "$count" = 1 ] || set -- -d "su=${STRIPE_KIB}k,sw=$count"
            # Without force: it refuses what it finds.
            run mkfs.xfs -q -L unbloat "$@" "$device"
            ;;
        *) stop "$device holds $kind" ;;
    esac
}

# What is mounted exactly there.
mounted_at() {
    findmnt --noheadings --output SOURCE --mountpoint "$1" || true
}

is_mounted() {
    source=$(mounted_at "$MOUNT" | tail -n 1)
    [ -n "$source" ] && [ "$(readlink -m -- "$source")" = "$(readlink -m -- "$device")" ]
}

against_mount_point() {
    if is_mounted; then
        return
    fi
    case $MOUNT in
        /bin | /boot | /boot/* | /dev | /dev/* | /etc | /etc/* | /home | /lib* | /opt | /proc | /proc/* | /root | /run | /sbin | /srv | /sys | /sys/* | /tmp | /usr | /usr/* | /var | /var/lib | /var/log)
            say "MOUNT cannot be $MOUNT: the system needs that"
            ;;
    esac
    source=$(mounted_at "$MOUNT")
    [ -z "$source" ] || say "$source is mounted at $MOUNT"
    if [ -L "$MOUNT" ]; then
        say "$MOUNT is a link"
    elif [ -e "$MOUNT" ] && [ ! -d "$MOUNT" ]; then
        say "$MOUNT is not a folder"
    elif [ -d "$MOUNT" ] && [ -z "$source" ] && [ -n "$(ls -A "$MOUNT")" ]; then
        say "$MOUNT holds something, which the mount would hide"
    fi
}

mount_unit() {
    systemd-escape --path --suffix=mount "$MOUNT"
}

mount_it() {
    unit=$(mount_unit)
    if sed -e "s|@WHAT@|$device|" -e "s|@WHERE@|$MOUNT|" -e "s|@OPTIONS@|$MOUNT_OPTIONS|" \
        -e "s|@REQUIRED_BY@|$REQUIRED_BY|" "$here/units/scratch.mount.in" | write "$units/$unit"; then
        run systemctl daemon-reload
        run systemctl enable "$unit"
    fi
    is_mounted || run systemctl start "$unit"
    [ -n "$dry" ] || is_mounted || stop "$unit was started, and $device is not mounted at $MOUNT"
}

unmount_it() {
    unit=$(mount_unit)
    if [ -e "$units/$unit" ]; then
        # First nothing requires it: stopping it would stop that too.
        run systemctl disable "$unit"
        run systemctl daemon-reload
    fi
    if is_mounted; then
        run systemctl stop "$unit"
        if [ -z "$dry" ] && is_mounted; then
            stop "$MOUNT is in use: stop what uses it (kubelet, containerd), then undo again"
        fi
    fi
    remove "$units/$unit"
    run systemctl daemon-reload
    [ ! -d "$MOUNT" ] || run rmdir --ignore-fail-on-non-empty -- "$MOUNT"
}

remove_volume() {
    group=$(volume)
    if [ "$group" = ours ]; then
        members >"$scratch/members"
        if [ -z "$dry" ]; then
            # A run that is interrupted here is taken up by the next.
            cp "$scratch/members" "$state/leaving"
        fi
        # The whole group, with its volumes; and not a disk that is missing, which LVM asks about.
        run vgremove --yes "$VG"
    elif [ -e "$state/leaving" ]; then
        cp "$state/leaving" "$scratch/members"
    else
        : >"$scratch/members"
    fi
    reset_scheduler
    while read -r disk; do
        leave "$disk"
    done <"$scratch/members"
    remove "$state/leaving"
}

# Clears a disk that was ours, unless somebody has put something on it since.
leave() {
    found=$(readlink -e -- "$1") || return 0
    if [ -n "$dry" ]; then
        run pvremove "$found"
        clear_ends "$found"
        return 0
    fi
    # One in a group again is not.
    if in_group=$(pvs --noheadings --options vg_name "$found" 2>/dev/null) && [ -z "$(echo "$in_group" | tr -d ' ')" ]; then
        run pvremove "$found"
    fi
    against_use "$1" "$found" >"$scratch/leaving"
    if [ -s "$scratch/leaving" ] || [ -n "$(wipefs --noheadings --output TYPE -- "$found")" ]; then
        say "$1 is left as it is: it is used anew"
        return 0
    fi
    clear_ends "$found"
}
