#!/usr/bin/env bash
# Regenerates sdk/gen from proto/. Needs protoc and its includes
# (Debian: protobuf-compiler libprotobuf-dev). With --check it only compares.
set -euo pipefail
cd "$(dirname "$0")/.."
out=sdk/gen
if [ "${1:-}" = "--check" ]; then out=$(mktemp -d); trap 'rm -rf "$out"' EXIT; fi
command -v protoc >/dev/null || { echo "protoc is missing; on Debian: apt-get install protobuf-compiler libprotobuf-dev" >&2; exit 1; }
mkdir -p "$out"
protoc -I proto -I /usr/include \
  --plugin=protoc-gen-ts_proto=node_modules/.bin/protoc-gen-ts_proto \
  --ts_proto_out="$out" \
  --ts_proto_opt=useDate=false,snakeToCamel=false,unknownFields=true,outputServices=grpc-js,outputClientImpl=false,esModuleInterop=true,env=node,importSuffix=.js,useOptionals=messages,enumsAsLiterals=true,outputJsonMethods=false,exportCommonSymbols=false,annotateFilesWithVersion=false,useExactTypes=false \
  proto/*.proto
node scripts/strip-service-types.mjs "$out"
if [ "${1:-}" = "--check" ]; then
  diff -r "$out" sdk/gen && echo "sdk/gen is up to date"
fi
