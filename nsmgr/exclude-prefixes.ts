/**
 * exclude-prefixes — tells every endpoint which address ranges it must not hand out.
 * Does:   adds the prefixes of a watched file to the request's context; takes them out of the answer again, so that a
 *         refresh carries the file's content of today
 * Fails:  never; a file that cannot be read or understood is logged and the last good list stays
 */
import type { ConnectionApi } from "../sdk/api.js";
import type { Element } from "../sdk/chain.js";
import { followFile } from "../sdk/config/follow-file.js";
import type { Connection } from "../sdk/gen/connection.js";
import { ConnectionContext, IPContext } from "../sdk/gen/connectioncontext.js";
import type { Log } from "../sdk/telemetry/log.js";
import { missingFrom, parseExcludedPrefixes } from "./excluded-prefixes.js";

export interface PrefixList {
  /** The list in force. */
  current(): readonly string[];
  stop(): void;
}

/** Follows the file; resolves when its first content is in force. No file = no prefixes. */
export async function followPrefixes(path: string, log: Log): Promise<PrefixList> {
  let prefixes: readonly string[] = [];
  const refuse = (error: unknown): void =>
    log.warn("excluded prefixes: file refused, the last good list stays", { path, prefixes: prefixes.length, error });
  const file = followFile(
    path,
    async (text) => {
      try {
        prefixes = text === undefined ? [] : await parseExcludedPrefixes(text);
        log.info("excluded prefixes", { path, prefixes: prefixes.length });
      } catch (error) {
        refuse(error);
      }
    },
    refuse,
  );
  await file.ready;
  return { current: () => prefixes, stop: file.stop };
}

export function excludePrefixes(list: Pick<PrefixList, "current">): Element<ConnectionApi> {
  return {
    name: "exclude-prefixes",
    steps: {
      async request(request, _context, rest) {
        const connection = request.connection;
        const given = connection?.context?.ip_context?.excluded_prefixes ?? [];
        const added = missingFrom(given, list.current());
        if (connection === undefined || added.length === 0) return rest.request(request);
        const answer = await rest.request({ ...request, connection: withExcluded(connection, [...given, ...added]) });
        const mine = new Set(added);
        const kept = (answer.context?.ip_context?.excluded_prefixes ?? []).filter((prefix) => !mine.has(prefix));
        return withExcluded(answer, kept);
      },
    },
  };
}

function withExcluded(connection: Connection, excluded_prefixes: string[]): Connection {
  const context = connection.context ?? ConnectionContext.fromPartial({});
  const ip_context = { ...(context.ip_context ?? IPContext.fromPartial({})), excluded_prefixes };
  return { ...connection, context: { ...context, ip_context } };
}
