#!/bin/bash
# build.sh OUTPUT: the stand-in for K3s as one static binary. Go's own caches
# make the second build quick; K3S_VERSION sets what it calls itself.
set -euo pipefail
[ $# = 1 ] || { echo "usage: $0 OUTPUT" >&2; exit 2; }
out=$(realpath -m "$1")
cd "$(dirname "${BASH_SOURCE[0]}")"
version=${K3S_VERSION:-v1.34.1+k3s1}
minor=${version#v1.}; minor=${minor%%.*}
base=k8s.io/component-base/version
client=k8s.io/client-go/pkg/version
flags="-s -w -X bowline.test/k3s/internal/version.Version=$version"
for package in $base $client; do
  flags+=" -X $package.gitVersion=$version -X $package.gitMajor=1 -X $package.gitMinor=$minor"
done
export CGO_ENABLED=0
exec go build -trimpath -buildvcs=false -ldflags "$flags" -o "$out" .
