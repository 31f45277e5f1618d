/** What a manager demands of its callers and of the registry, and whose what is: started together, ended together. */
import type { Phases } from "../sdk/config/phases.js";
import { type Admission, createAdmission } from "../sdk/policies/admission.js";
import { eventLoopUse } from "../sdk/policies/gate.js";
import { type Policies, policiesFor } from "../sdk/policies/policies.js";
import { limitsOf, masksOf } from "../sdk/policies/settings.js";
import type { NsmgrConfig } from "./config.js";
import type { LocalEndpoints } from "./local-endpoints.js";
import { followEntries, keepOwners, type OwnersDeps, pathIdsIn } from "./owners.js";

export interface Rules {
  /** Absent = whoever reaches a socket may. */
  readonly policies: Policies | undefined;
  /** What callers may have under way where none has an identity; absent = policies say it. */
  readonly peers: Admission | undefined;
  /** Identities along the way of an entry of this node, by its name. */
  readonly pathIdsOf: (name: string) => readonly string[] | undefined;
}

/** @throws as createPolicies and keepOwners */
export async function startRules(
  config: NsmgrConfig,
  deps: OwnersDeps & { readonly locals: LocalEndpoints; readonly phases: Phases },
): Promise<Rules> {
  const { log, nowMs, locals, phases, env } = deps;
  const owners = await phases.run(
    "owners of a former run",
    () => keepOwners(config, deps),
    (opened) => opened?.close(),
  );
  if (owners !== undefined) followEntries(owners, locals, config.endpointLifetimeMs, nowMs);
  const policies = await phases.run(
    "policies",
    () => policiesFor(deps.identity, masksOf(config), { limits: limitsOf(config), log, nowMs, env, owners }),
    (opened) => opened?.close(),
  );
  return {
    policies,
    peers: policies === undefined ? admissionOfPeers(config, nowMs) : undefined,
    pathIdsOf: pathIdsIn(locals, owners),
  };
}

/** No rate and no quota: nobody can be held to account. But each has its turn. */
function admissionOfPeers(config: NsmgrConfig, nowMs: () => number): Admission {
  return createAdmission({ ...limitsOf(config), ratePerS: 0, quota: 0 }, nowMs, eventLoopUse());
}
