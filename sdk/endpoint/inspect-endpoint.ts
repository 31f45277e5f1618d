/** What an operator may ask of an endpoint. It decides nothing that could be explained. */
import { type DrainState, drainAnswer } from "../elements/drain.js";
import type { Fact } from "../gen/inspect.js";
import { Code, statusError } from "../status.js";
import { type Log, parseLogLevel } from "../telemetry/log.js";
import type { Inspect } from "../transport/services.js";
import type { Registered } from "./register.js";

/** Something that can be drained: connections are moved away, new ones are not taken. */
export interface Drainable {
  begin(waitMs: number): Promise<DrainState>;
  end(): DrainState | Promise<DrainState>;
}

/** Out of the registry while it drains, so that nobody chooses it. */
export function leavingRegistry(drain: Drainable, registered: () => Registered | undefined): Drainable {
  return {
    async begin(waitMs) {
      await registered()?.leave();
      return drain.begin(waitMs);
    },
    async end() {
      const state = await drain.end();
      await registered()?.enter();
      return state;
    },
  };
}

/** @param drain  how it drains and takes part again; undefined: it carries no connections of others */
export function inspectEndpoint(
  name: string,
  report: (() => Promise<readonly Fact[]>) | undefined,
  log: Log,
  drain?: Drainable,
): Inspect {
  return {
    drain: drain && (async (request) => drainAnswer(name, await (request.undo ? drain.end() : drain.begin(request.wait_ms)))),
    explain: async () => ({ component: name, decisions: [] }),
    async getReport({ section }) {
      const facts = (await report?.()) ?? [];
      return { component: name, facts: facts.filter((fact) => section === "" || fact.section === section) };
    },
    async setLogLevel({ level }) {
      if (level !== "") {
        const parsed = parseLogLevel(level);
        if (parsed === undefined) throw statusError(Code.INVALID_ARGUMENT, `log level ${JSON.stringify(level)} is not known`);
        log.level = parsed;
      }
      return { level: log.level };
    },
  };
}
