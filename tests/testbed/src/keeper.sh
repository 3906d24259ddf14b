#!/bin/sh
# The keeper of one bed. It is the only one who ends what the bed started, whether the test passed, failed, or was killed:
#   keeper.sh hold BED   runs in the bed's new network namespace, sets it up, and waits for the end of its standard input;
#   keeper.sh end BED    ends a bed whose owner and keeper are both gone.
# A line "keep" on standard input lets the bed live on until this process gets SIGTERM.
set -u
mode=$1 bed=$2 keep=

members() {
    while read -r dir; do
        [ -d "$dir" ] && find "$dir" -name cgroup.procs -exec cat {} + 2>/dev/null
    done < "$bed/cgroups" | sort -un
}

end() {
    trap '' TERM
    exec 9>>"$bed/lock" && flock $1 9 || exit 0
    [ -e "$bed/cgroups" ] || exit 0 # somebody else was first
    # Only what is in the bed's own cgroups is the bed's.
    tries=0
    while pids=$(members) && [ -n "$pids" ]; do
        # shellcheck disable=SC2086
        kill -KILL $pids 2>/dev/null
        tries=$((tries + 1))
        [ $tries -lt 100 ] || { echo "could not end the processes $pids"; break; }
        sleep 0.1
    done
    for image in "$bed"/disks/*.img; do
        [ -e "$image" ] || continue
        losetup --associated "$image" --noheadings --output NAME | while read -r loop; do
            losetup --detach "$loop" || echo "could not detach $loop"
        done
    done
    sort -r "$bed/cgroups" | while read -r dir; do
        for try in 1 2 3 4 5; do
            [ ! -d "$dir" ] || find "$dir" -depth -type d -exec rmdir {} + 2>/dev/null
            [ -d "$dir" ] || break
            sleep 0.05
        done
        [ ! -d "$dir" ] || echo "could not remove the cgroup $dir"
    done
    while read -r name; do
        rmdir "/run/systemd/nspawn/propagate/$name" "/run/systemd/nspawn/unix-export/$name" 2>/dev/null
    done < "$bed/names"
    # Bowline's mount points are unwritable (`chattr +i`), for whoever removes them too.
    rm -rf --one-file-system "$bed" 2>/dev/null || { chattr -R -f -i "$bed"; rm -rf --one-file-system "$bed"; } ||
        echo "could not remove $bed"
    exit 0
}

# Whoever holds the lock is alive, or at it already.
[ "$mode" = end ] && end --nonblock

trap '' INT HUP PIPE
ip link set lo up && ip link add br0 type bridge && ip address add 10.0.1.1/24 dev br0 && ip link set br0 up && echo ready || exit 1
while read -r line; do
    [ "$line" = keep ] && keep=1
done
[ -n "$keep" ] || end --exclusive
exec 9>>"$bed/lock" && flock 9 && echo kept
trap 'kill $! 2>/dev/null; exec 9>&-; end --exclusive' TERM
while :; do
    sleep 86400 &
    wait $!
done
