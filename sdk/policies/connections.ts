/**
 * Policies of Request and Close, and whose a connection is.
 *
 * A connection belongs to the identity of its first path segment: every hop has checked that the tokens of the path chain
 * and that the last of them is the caller's, so nobody can put another's name there. The owner is kept where the
 * connection itself is kept (elements/serialize.ts): it comes and goes with it, and is there again after a restart.
 */
import type { CallContext } from "../chain.js";
import type { ConnectionPolicy } from "../elements/authorize.js";
import type { Ownership } from "../elements/serialize.js";
import type { Connection } from "../gen/connection.js";
import { identityOf } from "../peer.js";
import type { Audit } from "./audit.js";
import { askBeyond } from "./beyond-rules.js";
import { expiredPolicy } from "./built-in.js";
import { claimsOf } from "./claims.js";
import type { OwnerBook } from "./owner-book.js";
import { ask, noPrivileges, type PolicySource } from "./policy.js";

/** For `authorize` of a server: the part of the path up to our own segment. Calls from inside are not asked. */
export function connectionPolicy(source: PolicySource, audit: Audit): ConnectionPolicy {
  return async (method, connection, context) => {
    if (context.peer.kind === "self") return;
    const { index, path_segments } = connection.path ?? { index: 0, path_segments: [] };
    const input = { index, segments: path_segments.slice(0, index + 1), peer: identityOf(context.peer) };
    const object = connection.id;
    // An expired token never keeps an owner from ending a connection.
    const except = method === "close" ? { except: expiredPolicy } : {};
    const question = { method, peer: context.peer, object, input, ...except };
    ask(source, question, audit);
    askBeyond(source, question, audit);
  };
}

/** @param book  for a process that keeps nothing else of its connections over a restart */
export function connectionOwnership(audit: Audit, book?: OwnerBook): Ownership {
  return {
    book,
    ownerOf: ownerOf,
    demand(owner: string, asked: Connection, method: string, { peer }: CallContext) {
      if (peer.kind === "self" || owner === "") return;
      const who = ownerOf(asked);
      if (who === owner) return;
      audit({ method, peer, object: asked.id, policy: "ownership", reason: `it belongs to "${owner}", not to "${who}"` });
      throw noPrivileges();
    },
  };
}

/** The identity that a connection began with; "" = it has none. */
export function ownerOf(connection: Connection): string {
  const token = connection.path?.path_segments[0]?.token ?? "";
  return claimsOf(token)?.sub ?? "";
}
