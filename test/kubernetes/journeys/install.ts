/** From nothing to a mesh by helm, and back to nothing. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { helm, noHelm } from "../helm.js";
import type { Cluster } from "../rig/cluster/cluster.js";
import { eventually } from "../rig/eventually.js";
import { record } from "../rig/figures.js";
import { installWeft, loadWeftImages, systemNamespace } from "../rig/weft.js";

export function installJourney(cluster: () => Cluster): void {
  test("helm install brings a mesh that is Ready", { skip: noHelm() }, async (t) => {
    await loadWeftImages(cluster());
    const startedMs = performance.now();
    await installWeft(cluster());
    // helm is content with all but one pod of a DaemonSet
    await eventually("every node to have all parts", async () => {
      const daemons = await cluster().kubectl([
        "get",
        "ds",
        "-n",
        systemNamespace,
        "-o",
        "jsonpath={.items[*].status.numberReady}",
      ]);
      return daemons.split(" ").every((ready) => ready === String(cluster().nodes.length));
    });
    const tookMs = performance.now() - startedMs;
    record(t, "all of Weft Ready after `helm install`, images present", `${(tookMs / 1000).toFixed(1)} s`, "30 s");
  });
}

export function uninstallJourney(cluster: () => Cluster): void {
  test("helm uninstall leaves nothing but the CRDs that were asked to stay", { skip: noHelm() }, async () => {
    await helm(["uninstall", "weft", "--namespace", systemNamespace, "--wait", "--timeout", "3m"], cluster().kubeconfig);
    const selector = ["-l", "app.kubernetes.io/instance=weft", "-o", "name"];
    const kinds = "all,serviceaccounts,configmaps,secrets,networkpolicies,poddisruptionbudgets";
    let left = "";
    await eventually(
      "all of the release to go",
      async () => {
        left = await cluster().kubectl(["get", kinds, "-A", ...selector]);
        return left === "";
      },
      150_000,
    ).catch((error: Error) => {
      throw new Error(`${error.message}: ${left}`, { cause: error });
    });
    const global = "clusterroles,clusterrolebindings,mutatingwebhookconfigurations,validatingwebhookconfigurations";
    assert.equal(await cluster().kubectl(["get", global, ...selector]), "");
    assert.match(await cluster().kubectl(["get", "crd", "-o", "name"]), /networkservices\.networkservicemesh\.io/);
    await cluster().kubectl(["delete", "pods", "--all", "-A", "--now"]);
    for (const node of cluster().nodes) {
      await eventually(`no link of ours on ${node.name}`, async () => {
        const links = await node.run(["/bin/ip", "-o", "link"]);
        return !/vxlan|nsm|wg-|weft/.test(links);
      });
    }
  });
}
