#!/usr/bin/env bash
# Renders the chart into base/weft.yaml, which Kustomize takes. Hooks of Helm are left out: the first start waits a little
# longer for the authority's root. Run it after a change of the chart; `--check` says whether it is up to date.
set -euo pipefail
cd "$(dirname "$0")"
made=$(helm template weft ../helm/weft --namespace weft-system --kube-version 1.34.0 --no-hooks | node render.mjs weft-system)
if [ "${1:-}" = --check ]; then
  diff <(printf '%s\n' "$made") base/weft.yaml >/dev/null || { echo "deploy/kustomize/base/weft.yaml is stale: run deploy/kustomize/render.sh"; exit 1; }
else
  printf '%s\n' "$made" >base/weft.yaml
fi
