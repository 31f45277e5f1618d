/** What a manager demands of its callers and of the registry, and whose what is: started together, ended together. */
import type { Phases } from "../sdk/config/phases.js";
import { type Policies, policiesFor } from "../sdk/policies/policies.js";
import { limitsOf, masksOf } from "../sdk/policies/settings.js";
import type { NsmgrConfig } from "./config.js";
import type { LocalEndpoints } from "./local-endpoints.js";
import { followEntries, keepOwners, type OwnersDeps, pathIdsIn } from "./owners.js";

export interface Rules {
  /** Absent = whoever reaches a socket may. */
  readonly policies: Policies | undefined;
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
  return { policies, pathIdsOf: pathIdsIn(locals, owners) };
}
