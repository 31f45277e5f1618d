/**
 * follow-rules — the rules file, now and after each change.
 * A file that is missing at start means no rules: everything passes. A file that becomes wrong or vanishes changes nothing.
 */
import { followFile } from "../../sdk/config/follow-file.js";
import { Fact } from "../../sdk/gen/inspect.js";
import type { Log } from "../../sdk/telemetry/log.js";
import type { PacketFilter } from "./packet-filter.js";
import { parseRules } from "./parse-rules.js";

export interface FollowedRules {
  /** How it stands with the file, for operators. */
  report(): Fact[];
  stop(): Promise<void>;
}

/** Resolves when the first content is in force. */
export async function followRules(path: string, filter: PacketFilter, log: Log): Promise<FollowedRules> {
  let state = { value: "not read yet", detail: "" };
  let applying = Promise.resolve();

  const refuse = (error: unknown): void => {
    const details = error instanceof Error ? error.message : String(error);
    const kept = `${filter.rules().length} earlier rules stay in force`;
    state = { value: "refused", detail: `${kept}: ${details}` };
    log.error(`rules file ${path} is refused, ${kept}: ${details}`, { error });
  };
  const apply = async (text: string | undefined): Promise<void> => {
    if (text === undefined) {
      if (filter.rules().length > 0) return refuse(new Error("the file is gone"));
      state = { value: "absent", detail: "no rules: everything passes" };
      return log.warn(`rules file ${path} is absent: everything passes`);
    }
    try {
      const { rules, warnings } = parseRules(text);
      for (const warning of warnings) log.warn(`rules file ${path}: ${warning}`);
      await filter.setRules(rules);
      const what = rules.length === 0 ? "no rules: everything passes" : `${rules.length} rules`;
      state = { value: "in force", detail: [what, ...warnings].join("; ") };
      log.info(`rules file ${path} is in force: ${what}`);
    } catch (error) {
      refuse(error);
    }
  };
  const followed = followFile(
    path,
    (text) => {
      applying = applying.then(() => apply(text));
    },
    refuse,
  );
  await followed.ready;
  await applying;
  return {
    report: () => [Fact.fromPartial({ section: "rules", name: path, ...state })],
    async stop() {
      followed.stop();
      await applying;
    },
  };
}
