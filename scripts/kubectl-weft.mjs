#!/usr/bin/env node
// The plugin `kubectl weft`: put it (or a link to it) into PATH as kubectl-weft. get, describe and doctor ask the cluster.
const ofCluster = ["get", "describe", "doctor"];
if (ofCluster.includes(process.argv[2] ?? "")) process.argv.splice(2, 0, "cluster");
await import("./weft.mjs");
