/**
 * vouch — enters this manager into the path of an entry, and asks the policies.
 * Adds:  path (with our token; undefined without identity: then the `path` header is only passed on)
 * Does:  writes the identities along the way into the entry (path_ids): NSM's registry fills in only its own part of them,
 *        and refuses a refresh of an entry whose first one is missing
 * Fails: INVALID_ARGUMENT for a malformed header; PERMISSION_DENIED, as the policies say
 */
import type { RegistryApi } from "../sdk/api.js";
import type { CallContext, Element } from "../sdk/chain.js";
import type { RegistryPolicy } from "../sdk/policies/registry.js";
import { type PathOptions, presentedToken } from "../sdk/registry/enter-path.js";
import { enterRegistryPath, parsePathHeader, pathHeader, type RegistryPath, subjectOf } from "../sdk/registry/path-header.js";

export interface HasPath {
  readonly path: RegistryPath | undefined;
}

export interface VouchOptions {
  readonly mintToken: PathOptions["mintToken"];
  readonly policy: RegistryPolicy | undefined;
  /** Identities along the way of an entry of that name, as far as this manager knows. */
  readonly pathIdsOf: (name: string) => readonly string[] | undefined;
}

interface Entry {
  readonly name: string;
  readonly path_ids: readonly string[];
}

export function vouch<T extends Entry>(options: VouchOptions): Element<RegistryApi<T>, object, HasPath> {
  async function enter(method: "register" | "unregister", entry: T, context: CallContext): Promise<HasPath> {
    const own = await options.mintToken?.(context);
    if (own === undefined) return { path: undefined };
    const asked = parsePathHeader(context.metadata(pathHeader)) ?? { index: 0, tokens: [] };
    const path = enterRegistryPath(asked, presentedToken(context)?.token, own.token);
    const known = options.pathIdsOf(entry.name) ?? [];
    const currentPathIds = (known[0] ?? "") === "" ? undefined : known;
    const tokens = path.tokens.slice(0, path.index + 1);
    options.policy?.({ method, name: entry.name, tokens, index: path.index, currentPathIds }, context);
    return { path };
  }
  return {
    name: "vouch",
    steps: {
      async register(entry, context, rest) {
        const adds = await enter("register", entry, context);
        return rest.register(withIdentities(entry, adds), adds);
      },
      async unregister(entry, context, rest) {
        const adds = await enter("unregister", entry, context);
        await rest.unregister(withIdentities(entry, adds), adds);
      },
    },
  };
}

function withIdentities<T extends Entry>(entry: T, { path }: HasPath): T {
  if (path === undefined) return entry;
  return { ...entry, path_ids: path.tokens.slice(0, path.index + 1).map(subjectOf) };
}
