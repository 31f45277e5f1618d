/** follow-policies — the file of policy routes, now and after each change; a bad file keeps the old ones. */
import { followFile } from "../../sdk/config/follow-file.js";
import type { PolicyRoute } from "../../sdk/gen/connectioncontext.js";
import type { Log } from "../../sdk/telemetry/log.js";
import { parsePolicies } from "./parse-policies.js";

export interface FollowedPolicies {
  current(): readonly PolicyRoute[];
  /** Replaces the listener; called with every later change. */
  onChange(listener: (policies: readonly PolicyRoute[]) => void): void;
  stop(): void;
}

/** Resolves when the first content is known; an absent file means none. */
export async function followPolicies(path: string, log: Log): Promise<FollowedPolicies> {
  let policies: readonly PolicyRoute[] = [];
  let tell: (policies: readonly PolicyRoute[]) => void = () => {};
  const refuse = (error: unknown): void => {
    const why = error instanceof Error ? error.message : String(error);
    log.error(`policy routes of ${path} are refused, ${policies.length} earlier ones stay: ${why}`, { error });
  };
  const followed = followFile(
    path,
    (text) => {
      try {
        policies = text === undefined ? [] : parsePolicies(text);
        if (text !== undefined) log.info(`policy routes of ${path} are in force`, { policies: policies.length });
        tell(policies);
      } catch (error) {
        refuse(error);
      }
    },
    refuse,
  );
  await followed.ready;
  return {
    current: () => policies,
    onChange(listener) {
      tell = listener;
    },
    stop: () => followed.stop(),
  };
}
