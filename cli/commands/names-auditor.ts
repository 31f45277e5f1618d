/** Rules for names of endpoints (apps/dns) in namespaces where no process has them in its care. They have no ledger: their process is. */
import { findLeftovers } from "../../apps/dns/leftovers.js";
import type { Auditor } from "../../forwarder/audit/audit.js";

export function namesAuditor(): Auditor {
  return {
    name: "names",
    seen: async () =>
      (await findLeftovers()).map(({ url, dev, ino, remove }) => ({
        key: `names ${dev}/${ino}`,
        instance: "",
        kind: "rules",
        name: "inet weft-dns",
        netns: url,
        owner: "",
        reclaim: remove,
        detail: "the process that resolved names of endpoints here has gone; they are without effect",
      })),
    noted: async () => [],
  };
}
