/**
 * enter-path — reads who an entry comes from, and adds this registry to the `path` header of the answer.
 * Adds:  caller (identity of the entry's owner; identities along the way)
 * Does:  answers the header only to who sent one
 * Fails: INVALID_ARGUMENT for a malformed header
 */
import type { RegistryApi } from "../api.js";
import type { CallContext, Element } from "../chain.js";
import type { Token as MintedToken } from "../elements/exchange-tokens.js";
import type { Peer } from "../peer.js";
import {
  enterRegistryPath,
  formatPathHeader,
  leaveRegistryPath,
  parsePathHeader,
  pathHeader,
  type RegistryPath,
  subjectOf,
} from "./path-header.js";

export interface HasCaller {
  readonly caller: {
    /** Who owns the entry; "" = nobody can tell. */
    readonly identity: string;
    /** The identities along the way, this registry's last; empty if there is none at all. */
    readonly pathIds: readonly string[];
    /** When the caller's own token ends, in milliseconds since the epoch. */
    readonly tokenEndsMs: number | undefined;
    /** The path up to our own token, for policies. */
    readonly path: RegistryPath;
  };
}

/** A token of this process, for a call. */
export interface Token {
  readonly token: string;
  readonly endsMs: number;
}

export interface PathOptions {
  /** The owner of an entry. Default: the `sub` of the first token of the path. */
  readonly identify?: ((tokens: readonly string[], context: CallContext) => string) | undefined;
  /** Absent: this registry has no identity. */
  readonly mintToken?: ((context: CallContext) => Promise<Token>) | undefined;
}

/** Tokens of an identity in the form of this path; undefined without one. */
export function mintFor(identity: { mintToken(audience: Peer): Promise<MintedToken> } | undefined): PathOptions["mintToken"] {
  if (identity === undefined) return undefined;
  return async ({ peer }) => {
    const { token, expiresMs } = await identity.mintToken(peer);
    return { token, endsMs: expiresMs };
  };
}

export function enterPath<T>(options: PathOptions): Element<RegistryApi<T>, object, HasCaller> {
  const { identify = ([first = ""]) => subjectOf(first) } = options;

  async function enter<R>(context: CallContext, run: (adds: HasCaller) => Promise<R>): Promise<R> {
    const asked = parsePathHeader(context.metadata(pathHeader));
    const presented = presentedToken(context);
    const own = await options.mintToken?.(context);
    const path = enterRegistryPath(asked ?? { index: 0, tokens: [] }, presented?.token, own?.token ?? "");
    const along = path.tokens.slice(0, path.index + 1);
    const identity = identify(along, context);
    const pathIds = [identity, ...along.slice(1).map(subjectOf)];
    const answer = await run({
      caller: {
        identity,
        pathIds: pathIds.some((id) => id !== "") ? pathIds : [],
        tokenEndsMs: earliest(presented?.endsMs, own?.endsMs),
        path: { index: path.index, tokens: along },
      },
    });
    if (asked !== undefined) context.reply(pathHeader, formatPathHeader(leaveRegistryPath(path)));
    return answer;
  }

  return {
    name: "enter-path",
    steps: {
      register: (entry, context, rest) => enter(context, (adds) => rest.register(entry, adds)),
      unregister: (entry, context, rest) => enter(context, (adds) => rest.unregister(entry, adds)),
    },
  };
}

/** The token that the call itself carries; both headers must be there exactly once, else there is none. */
export function presentedToken(context: CallContext): Token | undefined {
  const tokens = context.metadata("nsm-client-token");
  const ends = context.metadata("nsm-client-token-expires");
  const [token] = tokens;
  const endsMs = Date.parse(ends[0] ?? "");
  if (tokens.length !== 1 || ends.length !== 1 || token === undefined || Number.isNaN(endsMs)) return undefined;
  return { token, endsMs };
}

function earliest(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined ? b : b === undefined ? a : Math.min(a, b);
}
