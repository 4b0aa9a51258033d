#!/bin/sh
# A node of Kubernetes, in a network, mount and PID namespace of its own: everything that makes one, on 10.99.0.1.
# $STATE is an empty directory; $PATH leads to the programs.
set -e
cd "$STATE"
mount --make-rshared /
# Where runtimes leave traces.
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/log
ip link set lo up
ip addr add 10.99.0.1/32 dev lo
sysctl -qw net.ipv4.ip_forward=1

config() {
    cat >"$1.conf" <<EOF
apiVersion: v1
kind: Config
clusters: [{name: node, cluster: {server: "https://10.99.0.1:6443", certificate-authority: $STATE/ca.crt}}]
users: [{name: user, user: {token: $1}}]
contexts: [{name: node, context: {cluster: node, user: user}}]
current-context: node
EOF
}
for user in admin kubelet proxy; do config $user; done
cat >tokens.csv <<EOF
admin,admin,admin,"system:masters"
kubelet,system:node:node-1,kubelet,"system:nodes"
proxy,system:kube-proxy,proxy,"system:node-proxier"
EOF
openssl genrsa -out accounts.key 2048
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -subj /CN=ca -days 2
openssl req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=kube-apiserver
echo 'subjectAltName=IP:10.99.0.1,IP:10.96.0.1' >names
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out server.crt -days 2 -extfile names
cat >containerd.toml <<EOF
version = 2
root = "$STATE/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "$STATE/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$CNI"
    conf_dir = "$STATE/cni"
EOF
mkdir cni
cat >cni/10-pods.conflist <<EOF
{"cniVersion": "0.3.1", "name": "pods", "plugins": [{"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true,
 "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}], "dataDir": "/run/cni"}}]}
EOF
echo 'nameserver 10.96.0.10' >resolv.conf

start() {
    name=$1
    shift
    "$@" >"$name.log" 2>&1 &
}
start etcd etcd --data-dir etcd
start containerd containerd --config containerd.toml
start apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 --advertise-address=10.99.0.1 \
    --service-cluster-ip-range=10.96.0.0/16 --tls-cert-file=server.crt --tls-private-key-file=server.key \
    --token-auth-file=tokens.csv --authorization-mode=Node,RBAC --service-account-key-file=accounts.key \
    --service-account-signing-key-file=accounts.key --service-account-issuer=https://kubernetes.default.svc \
    --kubelet-preferred-address-types=InternalIP
for _ in $(seq 120); do
    curl --silent --fail --cacert ca.crt --header 'Authorization: Bearer admin' https://10.99.0.1:6443/readyz >ready && break
    sleep 0.5
done
start controllers kube-controller-manager --kubeconfig=admin.conf --service-account-private-key-file=accounts.key \
    --root-ca-file=ca.crt --leader-elect=false
start scheduler kube-scheduler --kubeconfig=admin.conf --leader-elect=false
# The connection table's size is the whole machine's.
start proxy kube-proxy --kubeconfig=proxy.conf --proxy-mode=iptables --hostname-override=node-1 --cluster-cidr=10.88.0.0/24 \
    --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0
start kubelet kubelet --kubeconfig=kubelet.conf --root-dir="$STATE/kubelet" --cert-dir="$STATE/kubelet-pki" \
    --container-runtime=remote --container-runtime-endpoint=unix:///run/containerd.sock --cgroup-driver=cgroupfs \
    --fail-swap-on=false --hostname-override=node-1 --node-ip=10.99.0.1 --authorization-mode=AlwaysAllow --anonymous-auth=true \
    --cluster-dns=10.96.0.10 --cluster-domain=cluster.local --eviction-hard= --resolv-conf="$STATE/resolv.conf" \
    --enforce-node-allocatable=
for image in "$IMAGES"/*.tar; do
    ctr --address /run/containerd.sock --namespace k8s.io images import --snapshotter native "$image"
done
touch started
wait
