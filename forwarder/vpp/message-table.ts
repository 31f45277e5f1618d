/**
 * Which messages the VPP at the other end offers, under which numbers: numbers move between builds and with the set of
 * plugins, so they are looked up by "name_crc" after each handshake. A crc that nobody here knows is a message that changed.
 */
import { Code, type StatusError, statusError } from "../../sdk/status.js";
import { compileMessage, type Definitions, type MessageCodec, type Values } from "./codec.js";
import { builtIn } from "./definitions.js";

export interface MessageTable {
  /** Number of messages that VPP has told of. */
  readonly size: number;
  /** Whether VPP has it and we can write it. */
  offers(name: string): boolean;
  /** @throws FAILED_PRECONDITION VPP lacks it, or has it in a form that is not known */
  codec(name: string): { readonly id: number; readonly codec: MessageCodec };
  /** Undefined: none that we know. */
  byId(id: number): MessageCodec | undefined;
}

/** For bootstrapping: the two messages of which the numbers are fixed. */
export const handshake = { requestId: 15, replyId: 16 } as const;

/** The plugin that brings a message, for the text of a refusal. */
const plugins: readonly (readonly [RegExp, string])[] = [
  [/^memif_/, "memif_plugin.so"],
  [/^af_packet_/, "af_packet_plugin.so"],
  [/^(vxlan_)/, "vxlan_plugin.so"],
  [/^l3xc_/, "l3xc_plugin.so"],
  [/^acl_/, "acl_plugin.so"],
  [/wireguard_/, "wireguard_plugin.so"],
  [/^tap_/, "tap_plugin.so"],
];

/**
 * @param rows  what sockclnt_create_reply carries
 * @param own  definitions from the running VPP's files; they come before what we know ourselves
 */
export function readMessageTable(rows: readonly Values[], own: Definitions | undefined): MessageTable {
  const offered = new Map<string, { readonly id: number; readonly key: string }[]>();
  const keys = new Map<number, string>();
  for (const { index, name } of rows) {
    const found = typeof name === "string" ? /^(.+)_([0-9a-f]{8})$/.exec(name) : null;
    if (found?.[1] === undefined || typeof index !== "number" || typeof name !== "string") continue;
    offered.set(found[1], [...(offered.get(found[1]) ?? []), { id: index, key: name }]);
    keys.set(index, name);
  }
  const compiled = new Map<string, MessageCodec | undefined>();
  const compile = (key: string): MessageCodec | undefined => {
    if (!compiled.has(key)) compiled.set(key, compileFrom(own, key) ?? compileFrom(builtIn, key));
    return compiled.get(key);
  };
  const find = (name: string): { id: number; codec: MessageCodec } | undefined => {
    for (const { id, key } of offered.get(name) ?? []) {
      const codec = compile(key);
      if (codec !== undefined) return { id, codec };
    }
    return undefined;
  };
  const found = new Map<string, { id: number; codec: MessageCodec } | undefined>();
  const cached = (name: string): { id: number; codec: MessageCodec } | undefined => {
    if (!found.has(name)) found.set(name, find(name));
    return found.get(name);
  };
  return {
    size: keys.size,
    offers: (name) => cached(name) !== undefined,
    codec: (name) =>
      cached(name) ??
      fail(
        missing(
          name,
          offered.get(name)?.map(({ key }) => key),
        ),
      ),
    byId(id) {
      const key = keys.get(id);
      return key === undefined ? undefined : compile(key);
    },
  };
}

function compileFrom(definitions: Definitions | undefined, key: string): MessageCodec | undefined {
  const message = definitions?.messages.get(key);
  if (message === undefined || definitions === undefined) return undefined;
  try {
    return compileMessage(message, definitions.types);
  } catch {
    return undefined;
  }
}

function missing(name: string, keys: readonly string[] | undefined): StatusError {
  const plugin = plugins.find(([pattern]) => pattern.test(name))?.[1];
  const text =
    keys === undefined
      ? `VPP does not offer ${name}${plugin === undefined ? "" : `: enable ${plugin} in its start.conf`}`
      : `VPP offers ${keys.join(", ")}, a form of ${name} that is not known here; its .api.json files say it: set WEFT_VPP_API_FILES to their folder`;
  return statusError(Code.FAILED_PRECONDITION, text);
}

function fail(error: StatusError): never {
  throw error;
}
