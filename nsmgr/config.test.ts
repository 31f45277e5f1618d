import assert from "node:assert/strict";
import { test } from "node:test";
import { readSettings } from "../sdk/config/table.js";
import { nodeLabels, nsmgrSettings } from "./config.js";

const command = { name: "weft nsmgr", summary: "node manager" };

test("upstream's environment is understood, an IPv6 pod address without brackets too", () => {
  const env = {
    NSM_NAME: "nsmgr-1",
    NSM_LISTEN_ON: "unix:///tmp/nsm.sock,tcp://fd00::1:5001",
    NSM_REGISTRY_URL: "registry:5002",
    NSM_MAX_TOKEN_LIFETIME: "1m30s",
  };
  const read = readSettings(command, nsmgrSettings, { argv: ["--insecure", "--dial-timeout", "1s"], env });
  assert.ok(read.ok);
  assert.equal(read.values.name, "nsmgr-1");
  assert.deepEqual(read.values.listenOn, ["unix:///tmp/nsm.sock", "tcp://[fd00::1]:5001"]);
  assert.equal(read.values.registryUrl, "registry:5002");
  assert.equal(read.values.maxTokenLifetimeMs, 90_000);
  assert.equal(read.values.dialTimeoutMs, 1_000);
  assert.equal(read.values.forwarderServiceName, "forwarder");
  assert.equal(read.values.publicUrl, undefined);
});

test("all problems are reported together", () => {
  const env = { NSM_LISTEN_ON: "nowhere", NSM_DIAL_TIMEOUT: "soon" };
  const read = readSettings(command, nsmgrSettings, { argv: [], env });
  assert.ok(!read.ok);
  assert.match(read.text, /NSM_LISTEN_ON/);
  assert.match(read.text, /NSM_DIAL_TIMEOUT/);
});

test("node labels come from the environment if they are there", () => {
  assert.deepEqual(nodeLabels({ NODE_NAME: "n1", POD_NAME: "", CLUSTER_NAME: "c" }), { nodeName: "n1", clusterName: "c" });
});
