/** Reports, explanations and the log level are for operators: they show the connections of everybody. */
import type { CallContext } from "../chain.js";
import { identityOf } from "../peer.js";
import type { Inspect } from "../transport/services.js";
import type { Audit } from "./audit.js";
import { noPrivileges } from "./policy.js";

/** A name that ends in "/*" stands for all below it. */
export function operators(names: readonly string[]): (spiffeId: string) => boolean {
  return (spiffeId) => names.some((name) => (name.endsWith("/*") ? spiffeId.startsWith(name.slice(0, -1)) : name === spiffeId));
}

export function guardInspect(
  inspect: Inspect,
  options: { readonly audit: Audit; readonly isOperator: (spiffeId: string) => boolean },
): Inspect {
  const demand = (method: string, { peer }: CallContext): void => {
    if (peer.kind === "self") return;
    const spiffeId = identityOf(peer)?.spiffeId ?? "";
    if (spiffeId !== "" && options.isOperator(spiffeId)) return;
    const reason = `"${spiffeId}" is no operator (setting WEFT_OPERATORS)`;
    options.audit({ method, peer, object: "", policy: "operators", reason });
    throw noPrivileges();
  };
  return {
    async explain(request, context) {
      demand("explain", context);
      return inspect.explain(request, context);
    },
    async getReport(request, context) {
      demand("report", context);
      return inspect.getReport(request, context);
    },
    async setLogLevel(request, context) {
      demand("set log level", context);
      return inspect.setLogLevel(request, context);
    },
    drain:
      inspect.drain &&
      (async (request, context) => {
        demand("drain", context);
        return inspect.drain?.(request, context) ?? { component: "", draining: false, connections_left: 0 };
      }),
  };
}
