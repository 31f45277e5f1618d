/** The store on custom resources, under the suite of all stores, on a real API server. */
import { after, before } from "node:test";
import { storeCompliance } from "../../../registry/store/compliance.js";
import { openKubernetesStores } from "../../../registry/store/kubernetes/stores.js";
import { manualClock } from "../../../sdk/clock.js";
import { findApiConnection } from "../../../sdk/kubernetes/connection.js";
import { silentLog } from "../../../sdk/telemetry/log.js";
import { type ApiServer, noApiServer, startApiServer } from "../rig/api-server.js";
import { installCrds } from "../rig/crds.js";

const skip = noApiServer();
let server: ApiServer;
before(async () => {
  if (skip !== false) return;
  server = await startApiServer();
  await installCrds(server.api);
});
after(async () => await server?.stop());

let round = 0;
storeCompliance(
  "kubernetes",
  async () => {
    const namespace = `n${++round}`;
    await server.api.call({ method: "POST", path: "/api/v1/namespaces", body: { metadata: { name: namespace } } });
    const connection = await findApiConnection({ env: {}, kubeconfig: server.kubeconfig });
    const open = () =>
      openKubernetesStores({
        connection,
        name: "registry-0",
        namespace,
        onlyNamespace: true,
        // so that no lease of the suite, which is over since long, is renewed
        leasePeriodMs: 0,
        clock: manualClock(0),
        log: silentLog,
        signal: AbortSignal.timeout(30_000),
      });
    let stores = await open();
    return {
      stores,
      async reopen() {
        await stores.close();
        stores = await open();
        return stores;
      },
      end: () => stores.close(),
    };
  },
  skip,
);
