#!/usr/bin/env node
// The plugin `kubectl weft`: put it (or a link to it) into PATH as kubectl-weft. get, describe, why, doctor and log-level ask the cluster.
const ofCluster = ["get", "describe", "why", "doctor", "log-level"];
if (ofCluster.includes(process.argv[2] ?? "")) process.argv.splice(2, 0, "cluster");
await import("./weft.mjs");
