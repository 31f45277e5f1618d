/** The built-in policies under the paths that stand for them in upstream's masks. */
import type { MonitorInput, PathInput, PolicyInput, ResourceInput } from "./input.js";
import type { Policy } from "./policy.js";
import {
  clientAllowed,
  nextTokenSigned,
  previousTokenSigned,
  type Rule,
  type RuleTools,
  serviceConnection,
  tokensChained,
  tokensExpired,
  tokensValid,
} from "./rules.js";

/** Where upstream has its own policies compiled in. */
export const builtInFolder = "etc/nsm/opa";
/** It does not count for Close: who may end a connection may do so late. */
export const expiredPolicy = `${builtInFolder}/common/tokens_expired.rego`;

/** Sorted by path, as a folder is read. */
export function builtInPolicies(tools: RuleTools): readonly Policy[] {
  const path = (name: string, rule: Rule<PathInput>): Policy => policy(name, "segments", rule, tools);
  return [
    path("client/next_token_signed", nextTokenSigned),
    path("common/tokens_chained", tokensChained),
    { ...path("common/tokens_expired", tokensExpired), name: expiredPolicy },
    path("common/tokens_valid", tokensValid),
    policy<MonitorInput>("monitor/service_connection", "selected", serviceConnection, tools),
    policy<ResourceInput>("registry/client_allowed", "resource", clientAllowed, tools),
    path("server/prev_token_signed", previousTokenSigned),
  ];
}

/** @param demands  the part of the input without which the rule cannot be asked */
function policy<I extends PolicyInput>(name: string, demands: string, rule: Rule<I>, tools: RuleTools): Policy {
  return {
    name: `${builtInFolder}/${name}.rego`,
    decide(input) {
      if (!Object.hasOwn(input, demands)) throw new Error(`the input has no ${demands}: this policy is for another place`);
      return rule(input as I, tools);
    },
  };
}
