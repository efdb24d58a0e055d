# shellcheck shell=sh disable=SC2034
# The variables, their defaults, and what they may be. squash-node.env explains each.

read_variables() {
    : "${DISKS:=}" "${VG:=unbloat}" "${LV:=scratch}" "${MOUNT:=/var/lib/unbloat-scratch}"
    : "${MOUNT_OPTIONS:=noatime,logbsize=256k}" "${STRIPE_KIB:=64}" "${MIN_DISK_GIB:=100}" "${ALLOW_LOOP:=no}"
    : "${CONTAINERD_UNIT:=containerd.service}" "${REQUIRED_BY:=containerd.service kubelet.service}"
    : "${IO_CLASS:=best-effort}" "${IO_PRIORITY:=0}"
    : "${KUBECTL=kubectl}" "${NODE:=}"
    : "${LABEL:=unbloat.dev/squash-node=true}" "${TAINT:=unbloat.dev/squash-node=true:NoSchedule}"
    # Where files are written, for the tests: empty is the machine itself.
    : "${ROOT:=}"
    TAG=unbloat.squash-node
    state=$ROOT/var/lib/unbloat-squash-node
    units=$ROOT/etc/systemd/system
    device=/dev/$VG/$LV

    # A pattern of the shell in a variable would become other words.
    set -f
    like VG "$VG" '[A-Za-z0-9_][A-Za-z0-9_.+-]*'
    like LV "$LV" '[A-Za-z0-9_][A-Za-z0-9_.+-]*'
    like MOUNT "$MOUNT" '(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+'
    like MOUNT_OPTIONS "$MOUNT_OPTIONS" '[a-z0-9_=,]+'
    like STRIPE_KIB "$STRIPE_KIB" '(4|8|16|32|64|128|256|512|1024)'
    like MIN_DISK_GIB "$MIN_DISK_GIB" '[0-9]{1,6}'
    like ALLOW_LOOP "$ALLOW_LOOP" '(yes|no)'
    like CONTAINERD_UNIT "$CONTAINERD_UNIT" '[A-Za-z0-9_@.-]+\.service'
    like REQUIRED_BY "$REQUIRED_BY" '([A-Za-z0-9_@.-]+\.(service|target) ?)+'
    like IO_CLASS "$IO_CLASS" '(realtime|best-effort|idle)'
    like IO_PRIORITY "$IO_PRIORITY" '[0-7]'
    like LABEL "$LABEL" '[a-z0-9./-]+=[A-Za-z0-9_.-]*'
    like TAINT "$TAINT" '[a-z0-9./-]+=[A-Za-z0-9_.-]*:(NoSchedule|PreferNoSchedule|NoExecute)'
    [ -n "$NODE" ] || NODE=$(uname -n | tr '[:upper:]' '[:lower:]')
    like NODE "$NODE" '[a-z0-9]([a-z0-9.-]*[a-z0-9])?'
}

# A variable's whole value has to match.
like() {
    # grep looks at lines: a second one must not hide behind a first that is right.
    case $2 in
        *"
"*) wrong "$1 has more than one line" ;;
    esac
    printf '%s\n' "$2" | grep -Eqx -- "$3" || wrong "$1 cannot be '$2'"
}
