#!/bin/sh
# The first process of the cluster's namespaces: lays the mounts and the network, then waits for the end.
set -e
folder=$1
lifetime=$2
shift 2

# Where containerd, CNI and kubelet write whatever they are told: the machine's own stay untouched.
for place in run var/lib var/log; do
	mkdir -p "$folder/root/$place"
	mount --bind "$folder/root/$place" "/$place"
done

# The node's own name server, where a test starts one; else whoever asks is refused at once.
echo "nameserver $1" > "$folder/root/resolv.conf"
mount --bind "$folder/root/resolv.conf" /etc/resolv.conf

ip link set lo up
ip link add "$UPLINK" type bridge
for address in "$@"; do
	ip address add "$address/24" dev "$UPLINK"
done
ip link set "$UPLINK" up
ip route add default via "$GATEWAY"
echo 1 > /proc/sys/net/ipv4/ip_forward
# kube-proxy sends what comes for a node's port to pods: replies leave by another link than requests came by.
echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter

: > "$folder/ready"
case $lifetime in
# The owner holds the other end of the pipe; it closes however the owner ends.
owner) exec 3<&0; cat <&3 > /dev/null & ;;
*) sleep infinity & ;;
esac
# Unlike a foreground command, `wait` also takes the orphans that fall to a first process.
wait $!
