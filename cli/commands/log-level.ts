/** weft log-level: reads or changes the log level of running components, without a restart. */
import { Code, statusError, toStatusError } from "../../sdk/status.js";
import { logLevels, parseLogLevel } from "../../sdk/telemetry/log.js";
import type { CliContext } from "../context.js";
import { operatorDialer } from "../operator-dialer.js";
import { findSources, questionTimeoutMs, type SourceOptions } from "../view/sources.js";
import { formatTable } from "../view/table.js";

export async function logLevel(
  wanted: string | undefined,
  options: SourceOptions & { readonly of?: string },
  context: CliContext,
): Promise<number> {
  const level = wanted === undefined ? "" : parseLogLevel(wanted);
  if (level === undefined) {
    throw statusError(Code.INVALID_ARGUMENT, `"${wanted}" is no log level; there are ${logLevels.join(", ")}`);
  }
  const dialer = await operatorDialer(options, context);
  try {
    const sources = await findSources(options, dialer, context.signal);
    const asked = sources.filter(({ name }) => options.of === undefined || name === options.of);
    if (asked.length === 0) {
      throw statusError(Code.NOT_FOUND, `no component "${options.of}"; there are ${sources.map(({ name }) => name).join(", ")}`);
    }
    let failures = 0;
    const rows = await Promise.all(
      asked.map(async ({ name, url }) => {
        try {
          const limit = AbortSignal.any([context.signal, AbortSignal.timeout(questionTimeoutMs)]);
          const answer = await dialer.inspect(url).setLogLevel({ level }, { signal: limit });
          return [name, answer.level];
        } catch (error) {
          failures++;
          return [name, `(${toStatusError(error).details})`];
        }
      }),
    );
    context.out.write(formatTable(["COMPONENT", "LEVEL"], rows));
    return failures === 0 ? 0 : 1;
  } finally {
    dialer.close();
  }
}
