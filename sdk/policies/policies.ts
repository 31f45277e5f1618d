/**
 * All that a component with an identity demands of its callers, as one object for its chains and services. A component
 * without identity (--insecure) has none of it.
 */

import type { AdmitOptions } from "../elements/admit.js";
import type { ConnectionPolicy } from "../elements/authorize.js";
import type { Ownership } from "../elements/serialize.js";
import { createTokenVerifier } from "../identity/tokens.js";
import type { MonitorHub } from "../monitor/hub.js";
import type { Log } from "../telemetry/log.js";
import type { RemoteRegistry } from "../transport/dial.js";
import type { Gate } from "../transport/gate.js";
import type { ConnectionWatch, Inspect } from "../transport/services.js";
import { type AdmissionLimits, createAdmission } from "./admission.js";
import { type AnswerPolicy, answerPolicy } from "./answers.js";
import { type Audit, auditTo } from "./audit.js";
import { builtInPolicies } from "./built-in.js";
import { connectionOwnership, connectionPolicy, ownerOf } from "./connections.js";
import { eventLoopUse, gateOf } from "./gate.js";
import { guardInspect, operators } from "./inspect.js";
import { loadPolicies } from "./load.js";
import { guardMonitor } from "./monitor.js";
import type { OwnerBook } from "./owner-book.js";
import type { PolicySource } from "./policy.js";
import { type RegistryPolicy, registryPolicy } from "./registry.js";
import { demandOfRegistry } from "./registry-answers.js";
import { defaultLimits, defaultMasks, type PolicyMasks } from "./settings.js";

export interface Policies {
  /** Of Request and Close: for `authorize`, and whose a connection is, for `serialize`. */
  readonly connections: ConnectionPolicy;
  readonly ownership: Ownership;
  /** For `admit`: what each tenant may ask for at once. */
  readonly tenants: AdmitOptions;
  /** Who is refused by name: whoever goes on asking for too much. For `listen`. */
  readonly gate: Gate;
  /** What a client demands of an answer. */
  readonly answers: AnswerPolicy;
  /** Of Register, Unregister and Find. */
  readonly registry: RegistryPolicy;
  /** The registry as one who registers there may trust it. */
  ofRegistry<T extends { readonly name: string; readonly path_ids: readonly string[] }>(
    registry: RemoteRegistry<T>,
  ): RemoteRegistry<T>;
  /** A monitor that shows to each only what it has a part in. */
  monitor(hub: Pick<MonitorHub, "subscribe" | "connections">): ConnectionWatch;
  /** What only operators may ask. */
  inspect(inspect: Inspect): Inspect;
  /** Ends the watching of policy files. */
  close(): void;
}

export interface PoliciesOptions {
  readonly masks: PolicyMasks;
  readonly limits?: AdmissionLimits | undefined;
  readonly log: Log;
  readonly nowMs?: (() => number) | undefined;
  /** Owners of a former run; absent = whatever else is kept says it. */
  readonly owners?: OwnerBook | undefined;
  /** For the command `opa`. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
}

/**
 * @throws INVALID_ARGUMENT when a mask is malformed or selects nothing of the built-in policies; FAILED_PRECONDITION when a
 *         policy file cannot be used
 */
export async function createPolicies(options: PoliciesOptions): Promise<Policies> {
  const { masks, log, nowMs = Date.now, env = {} } = options;
  const audit: Audit = auditTo(log);
  const tools = { nowMs, isSignedBy: createTokenVerifier({ nowMs }).isSignedBy };
  const builtIn = builtInPolicies(tools);
  const loaded: { source: PolicySource; close(): void }[] = [];
  const load = async (list: readonly string[]): Promise<PolicySource> => {
    const one = await loadPolicies(list, { builtIn, tools, log, env });
    loaded.push(one);
    return one.source;
  };
  const close = (): void => {
    for (const one of loaded.splice(0)) one.close();
  };
  try {
    const [server, client, registry, registryClient, monitor] = [
      await load(masks.server),
      await load(masks.client),
      await load(masks.registryServer),
      await load(masks.registryClient),
      await load(masks.monitor),
    ];
    const admission = createAdmission(options.limits ?? defaultLimits, nowMs, eventLoopUse());
    const isOperator = operators(masks.operators);
    return {
      connections: connectionPolicy(server, audit),
      ownership: connectionOwnership(audit, options.owners),
      tenants: { admission, tenantOf: ownerOf },
      gate: gateOf(admission, audit, nowMs),
      answers: answerPolicy(client, audit),
      registry: registryPolicy(registry, audit),
      ofRegistry: (remote) => demandOfRegistry(remote, { source: registryClient, audit }),
      monitor: (hub) => guardMonitor(hub, { source: monitor, audit, isOperator }),
      inspect: (inspect) => guardInspect(inspect, { audit, isOperator }),
      close,
    };
  } catch (error) {
    close();
    throw error;
  }
}

/** The policies of a component: none without an identity, since then nobody can be known. */
export async function policiesFor(
  identity: object | undefined,
  masks: Partial<PolicyMasks> | undefined,
  options: Pick<PoliciesOptions, "limits" | "log" | "nowMs" | "env" | "owners">,
): Promise<Policies | undefined> {
  return identity === undefined ? undefined : createPolicies({ ...options, masks: { ...defaultMasks, ...masks } });
}
