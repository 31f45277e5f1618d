import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "../../sdk/client/connect.js";
import { createTokenVerifier } from "../../sdk/identity/tokens.js";
import { withSegment } from "../../sdk/path.js";
import { answerPolicy } from "../../sdk/policies/answers.js";
import { builtInPolicies } from "../../sdk/policies/built-in.js";
import { Code } from "../../sdk/status.js";
import { startTrustedMesh, wanted } from "./mesh.js";

test("row 8.2: a client accepts an answer whose whole path has vouched, and keeps it", async (t) => {
  const mesh = await startTrustedMesh(t);
  await mesh.serve({ name: "nse" });
  const identity = await mesh.identity("/alice");
  const connection = await connect({ url: "kernel://service", nsmgr: mesh.urls[0], identity, signal: mesh.signal });
  assert.equal(connection.connection.path?.path_segments.length, 4);
  await connection.close();
  assert.deepEqual(mesh.audit, []);
});

test("row 8.2: a client refuses an answer in which a hop has not vouched, or that another server gives", async (t) => {
  const mesh = await startTrustedMesh(t);
  await mesh.serve({ name: "nse" });
  const alice = await mesh.workload("/alice");
  const answer = await alice.request(wanted("c1"));
  const tools = { nowMs: Date.now, isSignedBy: createTokenVerifier({ nowMs: Date.now }).isSignedBy };
  const client = builtInPolicies(tools).filter(({ name }) => /\/(common|client)\//.test(name));
  const audit: string[] = [];
  const check = answerPolicy({ current: () => client }, ({ reason }) => audit.push(reason));
  const server = await serverOf(mesh.urls[0]);
  check(answer, server);
  const denied = { code: Code.PERMISSION_DENIED };
  for (const index of [1, 2, 3]) {
    const silent = withSegment(answer, index, (segment) => ({ ...segment, token: "" }));
    assert.throws(() => check(silent, server), denied, `segment ${index}`);
  }
  assert.throws(() => check(answer, undefined), denied);
  assert.throws(() => check({ ...answer, path: undefined }, server), denied);
  assert.equal(audit.length, 5);

  async function serverOf(url: string) {
    let found: Parameters<typeof check>[1];
    const onPeer = (peer: typeof found): void => {
      found = peer;
    };
    const call = { signal: mesh.signal, onPeer };
    await alice.dialer.connections(url).close({ ...answer, id: "unknown", path: wantedPath("unknown") }, call);
    return found;
  }
});

function wantedPath(id: string) {
  return { index: 0, path_segments: [{ name: "client", id, token: "", metrics: {} }] };
}
