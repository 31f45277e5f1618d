/**
 * What whoever registers something demands of the registry's answer: that every application on the way has vouched for it,
 * the first of them the one that was called (policies of a registry's clients; setting NSM_REGISTRY_CLIENT_POLICIES).
 * Does:  an answer that is refused is asked for once more: a certificate may have been renewed in the middle of the call.
 *        A first registration whose answer is refused again is taken back
 * Fails: PERMISSION_DENIED with the reason: it stays in this process
 */
import type { PeerIdentity } from "../peer.js";
import { parsePathHeader, pathHeader, subjectOf } from "../registry/path-header.js";
import { Code, statusError } from "../status.js";
import type { RemoteRegistry } from "../transport/dial.js";
import type { Audit } from "./audit.js";
import { foreignAnswer } from "./beyond-rules.js";
import type { ResourceInput } from "./input.js";
import { type PolicySource, textOf } from "./policy.js";

interface Entry {
  readonly name: string;
  readonly path_ids: readonly string[];
}
type Call = Parameters<RemoteRegistry<Entry>["register"]>[1];

/** How long what was registered is taken back, in milliseconds. */
const takeBackMs = 5_000;

/** The same registry, for a caller who looks at its answers. Finds are as they were. */
export function demandOfRegistry<T extends Entry>(
  registry: RemoteRegistry<T>,
  { source, audit }: { readonly source: PolicySource; readonly audit: Audit },
): RemoteRegistry<T> {
  /** Whose our entries were in the last answer, by their names there. */
  const known = new Map<string, readonly string[]>();

  async function register(entry: T, call: Call): Promise<T> {
    for (let isAgain = false; ; isAgain = true) {
      const { answer, server, refused } = await tryOnce(entry, call);
      if (refused === undefined) {
        known.set(answer.name, answer.path_ids);
        return answer;
      }
      if (!isAgain) continue;
      const address = server?.spiffeId ?? "a server without identity";
      const peer = { kind: "tcp" as const, address, ...(server === undefined ? {} : { spiffeId: server.spiffeId }) };
      audit({ method: "answer to register", peer, object: answer.name, ...refused });
      if (!known.has(answer.name)) await takeBack(answer, call);
      const text = `the registry's answer for ${answer.name} is not trusted (${refused.policy}): ${refused.reason}`;
      throw statusError(Code.PERMISSION_DENIED, text);
    }
  }

  async function tryOnce(entry: T, call: Call) {
    let server: PeerIdentity | undefined;
    const headers: string[] = [];
    const answer = await registry.register(entry, {
      ...call,
      onPeer(peer) {
        server = peer;
        call.onPeer?.(peer);
      },
      onHeader(name, value) {
        if (name === pathHeader) headers.push(value);
        call.onHeader?.(name, value);
      },
    });
    const refused = firstRefusal(() => inputOf(answer.name, sentIndex(call), headers, server, known.get(answer.name)), server);
    return { answer, server: server as PeerIdentity | undefined, refused };
  }

  function firstRefusal(
    read: () => ResourceInput,
    server: PeerIdentity | undefined,
  ): { policy: string; reason: string } | undefined {
    const policies = source.current();
    if (policies.length === 0) return undefined;
    let policy = "path";
    try {
      const input = read();
      for (const { name, decide } of policies) {
        policy = name;
        const reason = decide(input);
        if (reason !== undefined) return { policy, reason };
      }
      const reason = foreignAnswer(input, server);
      return reason === undefined ? undefined : { policy: "own name", reason };
    } catch (error) {
      return { policy, reason: `the policy cannot be evaluated: ${textOf(error)}` };
    }
  }

  async function takeBack(entry: T, { metadata }: Call): Promise<void> {
    const call = { signal: AbortSignal.timeout(takeBackMs), ...(metadata === undefined ? {} : { metadata }) };
    // whoever is not to be trusted may not do it either; the entry then goes when its lease ends
    await registry.unregister(entry, call).catch(() => {});
  }

  return {
    register,
    async unregister(entry, call) {
      await registry.unregister(entry, call);
      known.delete(entry.name);
    },
    find: (query, options) => registry.find(query, options),
  };
}

/** Where the caller stands in the path that it sends. */
function sentIndex({ metadata }: Call): number {
  const sent = metadata?.[pathHeader];
  return sent === undefined ? 0 : (parsePathHeader([sent])?.index ?? 0);
}

function inputOf(
  name: string,
  index: number,
  headers: readonly string[],
  server: PeerIdentity | undefined,
  currentPathIds: readonly string[] | undefined,
): ResourceInput {
  const tokens = parsePathHeader(headers)?.tokens ?? [];
  return {
    index,
    segments: tokens.map((token) => ({ token })),
    peer: server,
    resource: { name, owner: subjectOf(tokens[0] ?? ""), currentPathIds: ownedBy(currentPathIds) },
  };
}

/** A registry of NSM's fills in only its own part of the identities; an entry without a first one has no owner. */
function ownedBy(pathIds: readonly string[] | undefined): readonly string[] | undefined {
  return (pathIds?.[0] ?? "") === "" ? undefined : pathIds;
}
