# shellcheck shell=sh disable=SC2154 # the variables are those of squash-node
# Scheduler of the disks, I/O priority of containerd, label and taint of the node.

boot_unit() {
    echo "unbloat-squash-node@$(systemd-escape "$VG").service"
}

# The scheduler now, and at each boot by a unit. What it was is kept for `undo`.
set_scheduler() {
    for disk in $DISKS; do
        before=$(scheduler_of "$disk")
        if [ "$before" != none ]; then
            if [ -z "$dry" ] && ! grep -Fqs "$disk " "$state/schedulers"; then
                printf '%s %s\n' "$disk" "$before" >>"$state/schedulers"
            fi
            put_scheduler "$disk" none
        fi
    done
    if write "$units/unbloat-squash-node@.service" <"$here/units/unbloat-squash-node@.service"; then
        run systemctl daemon-reload
        run systemctl enable "$(boot_unit)"
    fi
}

put_scheduler() {
    name=$(readlink -e -- "$1") || return 0
    file=/sys/class/block/${name##*/}/queue/scheduler
    printf '+ echo %s > %s\n' "$2" "$file"
    [ -n "$dry" ] || echo "$2" >"$file"
}

reset_scheduler() {
    if [ -e "$units/unbloat-squash-node@.service" ]; then
        run systemctl disable "$(boot_unit)"
        remove "$units/unbloat-squash-node@.service"
        run systemctl daemon-reload
    fi
    if [ -e "$state/schedulers" ]; then
        while read -r disk before; do
            put_scheduler "$disk" "$before"
        done <"$state/schedulers"
        remove "$state/schedulers"
    fi
}

priority_file() {
    echo "$units/$CONTAINERD_UNIT.d/50-unbloat-squash-node.conf"
}

# For the next start by a drop-in, and for the process that runs: nothing is restarted.
set_priority() {
    if sed -e "s|@CLASS@|$IO_CLASS|" -e "s|@PRIORITY@|$IO_PRIORITY|" "$here/units/io-priority.conf.in" |
        write "$(priority_file)"; then
        run systemctl daemon-reload
    fi
    case $IO_CLASS in
        idle) ionice_containerd --class idle ;;
        *) ionice_containerd --class "$IO_CLASS" --classdata "$IO_PRIORITY" ;;
    esac
}

reset_priority() {
    if [ -e "$(priority_file)" ]; then
        remove "$(priority_file)"
        run systemctl daemon-reload
        ionice_containerd --class none
    fi
}

# Every thread of it: the priority is a thread's.
ionice_containerd() {
    main=$(systemctl show --property=MainPID --value "$CONTAINERD_UNIT" 2>/dev/null || true)
    case $main in
        '' | 0 | *[!0-9]*) return 0 ;;
    esac
    [ -d "/proc/$main/task" ] || return 0
    # shellcheck disable=SC2046
    run ionice "$@" --pid $(ls "/proc/$main/task")
}

kube() {
    # shellcheck disable=SC2086 # it may carry options
    run $KUBECTL "$@"
}

ask_kube() {
    # shellcheck disable=SC2086
    $KUBECTL "$@" </dev/null
}

against_node() {
    [ -n "$KUBECTL" ] || return 0
    need "${KUBECTL%% *}"
    ask_kube get node "$NODE" --output=name >/dev/null 2>"$scratch/kube" ||
        say "node $NODE cannot be read (set NODE, or KUBECTL= to leave label and taint out): $(head -n 1 "$scratch/kube")"
}

# Last, so that no worker comes before its disk.
mark_node() {
    [ -n "$KUBECTL" ] || return 0
    kube taint node "$NODE" "$TAINT" --overwrite
    kube label node "$NODE" "$LABEL" --overwrite
}

refuse_while_workers_run() {
    [ -n "$KUBECTL" ] || return 0
    need "${KUBECTL%% *}"
    workers=$(ask_kube get pods --all-namespaces --selector=app.kubernetes.io/name=unbloat-worker \
        --field-selector="spec.nodeName=$NODE,status.phase=Running" --output=name)
    [ -z "$workers" ] || stop "workers run on node $NODE: wait for them, or suspend their jobs"
}

# The label and what was measured go first, so that no worker comes; the taint with them.
unmark_node() {
    [ -n "$KUBECTL" ] || return 0
    kube label node "$NODE" "${LABEL%%=*}-" unbloat.dev/squash-node-qualified-
    kube annotate node "$NODE" unbloat.dev/squash-node-iops- unbloat.dev/squash-node-measured-at-
    key=${TAINT%%=*}
    if ask_kube get node "$NODE" --output='jsonpath={range .spec.taints[*]}{.key}{"\n"}{end}' | grep -Fqx "$key"; then
        kube taint node "$NODE" "$key-"
    fi
}

node_status() {
    [ -n "$KUBECTL" ] || return 0
    ask_kube get node "$NODE" --output='jsonpath={.metadata.name}: {.metadata.annotations.unbloat\.dev/squash-node-iops} IOPS measured{"\n"}'
}
