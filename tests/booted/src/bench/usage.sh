#!/bin/bash
# The scanner of directories beside du and diskus. It runs with mounts of its own, so that nothing is left when it ends.
#   FOLDER (on a disk) SCAN TREE DISKUS (programs)
# usage.sh half ROUNDS: half a million files, read again and again (`warm`), and after a mount (`cold`)
# usage.sh many: the memory for five million
# Prints lines of two words: what was measured, and the number. What is measured in every round is printed in every round.
set -euo pipefail
image=$FOLDER/image at=$FOLDER/mounted
mkdir -p "$at"

# fresh SIZE INODES: an empty filesystem. Without a journal, which is written by nobody who only reads.
fresh() {
    rm -f "$image"
    truncate -s "$1" "$image"
    mkfs.ext4 -q -F -m 0 -N "$2" -O ^has_journal -E lazy_itable_init=1,nodiscard "$image"
    attach
}

# The loop device reads past this host's cache, so that what was not read since the mount comes from the disk.
attach() {
    mount -o loop,noatime "$image" "$at"
    losetup --direct-io=on "$(findmnt --noheadings --output SOURCE "$at")"
}

again() {
    umount "$at"
    attach
}

# took NAME COMMAND…: its seconds, and those of processors that it took, its own and the kernel's for it
took() {
    TIMEFORMAT="$1 %3R
$1_user %3U
$1_system %3S"
    shift
    # What the shell says of the time goes to standard output, and what the command says to nobody; its complaints stay.
    { time "$@" >/dev/null 2>&3; } 3>&2 2>&1
}

half() {
    fresh 8G 700000
    begin=$(date +%s)
    "$TREE" "$at" 9
    again
    echo "files $(find "$at" -type f | wc -l)"
    echo "made $(($(date +%s) - begin))"
    ours=$("$SCAN" "$at" | awk 'NR == 1 {print $1, $3}')
    theirs="$(du -s -B1 "$at" | cut -f1) $(du -s --inodes "$at" | cut -f1)"
    [ "$ours" = "$theirs" ] || {
        echo "bytes and inodes: ours $ours, du's $theirs" >&2
        exit 1
    }
    "$DISKUS" --threads 2 "$at" >/dev/null
    # Each is first and last as often as the others, or once more.
    for round in $(seq "$1"); do
        for side in $(turn "$round" warm_du warm_ours_1 warm_ours_2 warm_diskus); do "$side"; done
    done
    for round in $(seq "$1"); do
        for side in $(turn "$round" cold_du cold_ours_2); do
            again
            "$side"
        done
    done
}

warm_du() { took warm_du du -s "$at"; }
warm_ours_1() { took warm_ours_1 "$SCAN" --threads 1 "$at"; }
warm_ours_2() { took warm_ours_2 "$SCAN" --threads 2 "$at"; }
warm_diskus() { took warm_diskus "$DISKUS" --threads 2 "$at"; }
cold_du() { took cold_du du -s "$at"; }
cold_ours_2() { took cold_ours_2 "$SCAN" --threads 2 "$at"; }

# turn ROUND NAME…: the names, beginning with another one in each round
turn() {
    shift_by=$1
    shift
    for _ in $(seq $((shift_by % $#))); do
        set -- "${@:2}" "$1"
    done
    echo "$@"
}

many() {
    fresh 16G 5200000
    mkdir "$at/none" "$at/all"
    begin=$(date +%s)
    "$TREE" "$at/all" 90
    echo "made $(($(date +%s) - begin))"
    begin=$(date +%s)
    for of in none all; do
        said=$("$SCAN" --threads 2 --memory "$at/$of")
        echo "${of}_inodes $(echo "$said" | awk 'NR == 1 {print $3}')"
        echo "${of}_kb $(echo "$said" | sed -n 's/^VmHWM:[[:space:]]*\([0-9]*\) kB$/\1/p')"
    done
    echo "scanned $(($(date +%s) - begin))"
}

"$@"
umount "$at"
rm -f "$image"
