import assert from "node:assert/strict";
import { test } from "node:test";
import { isApiError } from "../../../sdk/kubernetes/api-error.js";
import { noApiServer, startApiServer } from "./api-server.js";
import { installCrds } from "./crds.js";
import { kubernetesVersion } from "./programs.js";

test("the API server is real, takes our CRDs, and comes back after an outage with what it had", {
  skip: noApiServer(),
}, async (t) => {
  const server = await startApiServer({ users: ["nobody"] });
  t.after(() => server.stop());
  const { gitVersion } = await server.api.call<{ gitVersion: string }>({ path: "/version" });
  assert.equal(gitVersion, `v${kubernetesVersion()}`);
  await installCrds(server.api);
  await server.stopApi();
  await assert.rejects(server.api.call({ path: "/version" }), (error) => isApiError(error) && error.httpStatus === 0);
  await server.startApi();
  const path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
  const { items } = await server.api.call<{ items: unknown[] }>({ path });
  assert.equal(items.length, 3);
});
