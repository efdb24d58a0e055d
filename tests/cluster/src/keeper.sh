#!/bin/sh
# Outlives the test that started it, by as long as ending takes: whatever becomes of the test (end, panic, SIGINT,
# SIGKILL), the processes, mounts, links and control groups of its cluster go, and then its folder.
# Arguments: the cluster's folder, its control group, the number of nodes, and what goes on to inside.sh:
# owner|nobody (whose end is the cluster's), the nodes' addresses.
folder=$1
group=$2
nodes=$3
shift 3

# Version 1 has a tree for each controller, version 2 one for all. Each kubelet needs a group of its own: it ends pods
# that it finds in its group and does not know.
for root in /sys/fs/cgroup /sys/fs/cgroup/*; do
	if [ -e "$root/cgroup.procs" ]; then
		for node in $(seq "$nodes"); do mkdir -p "$root/$group/node-$((node - 1))"; done
	fi
done

# When the first process of a PID namespace ends, the kernel ends all others, and with the last one go the namespaces
# of mounts and network with everything in them. So nothing has to be found in order to be ended.
unshare --fork --pid --mount --net --mount-proc --propagation private -- sh "$folder/inside.sh" "$folder" "$@"

# A control group can stay busy for a moment after its last process.
for attempt in 1 2 3 4 5 6 7 8 9 10; do
	busy=
	for root in /sys/fs/cgroup /sys/fs/cgroup/*; do
		if [ -d "$root/$group" ]; then
			find "$root/$group" -depth -type d -exec rmdir {} + 2>/dev/null || busy=1
		fi
	done
	if [ -z "$busy" ]; then break; fi
	sleep 0.1
done
if [ -e "$folder/keep-logs" ]; then mv "$folder/logs" "$(cat "$folder/keep-logs")"; fi
rm -rf --one-file-system -- "$folder"
