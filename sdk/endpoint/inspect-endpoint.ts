/** What an operator may ask of an endpoint. It decides nothing that could be explained. */
import type { Fact } from "../gen/inspect.js";
import { Code, statusError } from "../status.js";
import { type Log, parseLogLevel } from "../telemetry/log.js";
import type { Inspect } from "../transport/services.js";

export function inspectEndpoint(name: string, report: (() => Promise<readonly Fact[]>) | undefined, log: Log): Inspect {
  return {
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
