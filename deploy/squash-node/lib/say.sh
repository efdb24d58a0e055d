# shellcheck shell=sh disable=SC2154 # the variables are those of squash-node
# Words, refusals, and how commands are run or only shown.

say() {
    printf '%s\n' "$*"
}

# The work cannot be done: exit 1.
stop() {
    printf 'squash-node: %s\n' "$*" >&2
    exit 1
}

# It was asked for wrongly: exit 2.
wrong() {
    printf '%s\n' "$*" >&2
    exit 2
}

# Everything that speaks against it, and that nothing was changed: exit 3.
refuse() {
    sed 's/^/squash-node: /' "$1" >&2
    printf 'squash-node: refused, and nothing was changed\n' >&2
    exit 3
}

need() {
    for program in "$@"; do
        command -v "$program" >/dev/null || stop "$program is not installed (see README.md for the packages)"
    done
}

# Runs a command, told before; or only tells.
run() {
    printf '+'
    for word in "$@"; do
        case $word in
            '' | *[!A-Za-z0-9_./:=,@%+-]*) printf " '%s'" "$word" ;;
            *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
    # Nothing may ask questions: LVM would, about what it finds on a disk.
    [ -n "$dry" ] || "$@" </dev/null 9>&-
}

# Writes standard input to a file, unless it says so already. True when it was written.
write() {
    cat >"$scratch/text"
    if cmp -s "$scratch/text" "$1"; then
        return 1
    fi
    printf '+ write %s:\n' "$1"
    sed 's/^/  | /' "$scratch/text"
    if [ -z "$dry" ]; then
        mkdir -p "$(dirname -- "$1")"
        # Whole or not at all.
        cp "$scratch/text" "$1.new"
        chmod 0644 "$1.new"
        mv "$1.new" "$1"
    fi
}

remove() {
    [ ! -e "$1" ] || run rm -f -- "$1"
}

count_words() {
    echo $#
}
