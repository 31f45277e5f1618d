#!/usr/bin/env bash
# build.sh [PROGRAM…]: the programs of a Kubernetes cluster, from their Go module, into the cache; what is there already
# is kept. Prints the folder. About 510 CPU seconds for all the first time, of which kube-apiserver alone takes 370.
#   KUBEBUILDER_ASSETS=DIR  programs found there (setup-envtest) are taken instead
set -euo pipefail
cd "$(dirname "$0")"
version=$(sed -n 's/^.*k8s.io\/kubernetes v\([0-9.]*\)$/\1/p' go.mod | head -1)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/weft/kubernetes-$version
[ $# -gt 0 ] || set -- kube-apiserver kubectl kube-controller-manager kube-scheduler kubelet kube-proxy
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9
for program in "$@"; do
  [ -x "$cache/$program" ] && continue
  [ -n "${KUBEBUILDER_ASSETS:-}" ] && [ -x "$KUBEBUILDER_ASSETS/$program" ] && continue
  command -v go >/dev/null || { echo "go is missing: install it, or set KUBEBUILDER_ASSETS to a folder with $program" >&2; exit 1; }
  base=k8s.io/component-base/version
  CGO_ENABLED=0 nice -n 19 go build -trimpath -o "$cache/$program.new" -ldflags \
    "-s -w -X $base.gitVersion=v$version -X $base.gitMajor=${version%%.*} -X $base.gitMinor=$(echo "$version" | cut -d. -f2) -X $base.gitTreeState=clean" \
    "k8s.io/kubernetes/cmd/$program" >&2
  mv "$cache/$program.new" "$cache/$program"
done
echo "$cache"
