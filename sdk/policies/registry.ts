/** Policies of Register, Unregister and Find. */
import type { CallContext } from "../chain.js";
import { identityOf } from "../peer.js";
import { subjectOf } from "../registry/path-header.js";
import type { Audit } from "./audit.js";
import { askBeyond } from "./beyond-rules.js";
import { ask, type PolicySource } from "./policy.js";

export interface RegistryQuestion {
  readonly method: "register" | "unregister" | "find";
  /** The name that is asked for; of a Find what it looks for. */
  readonly name: string;
  /** Tokens up to our own, and where ours is. */
  readonly tokens: readonly string[];
  readonly index: number;
  /** Identities of the entry that has the name now; undefined = nobody has it, or it is not to be changed. */
  readonly currentPathIds: readonly string[] | undefined;
}

/** Throws to refuse. */
export type RegistryPolicy = (question: RegistryQuestion, context: CallContext) => void;

export function registryPolicy(source: PolicySource, audit: Audit): RegistryPolicy {
  return ({ method, name, tokens, index, currentPathIds }, { peer }) => {
    if (peer.kind === "self") return;
    const input = {
      index,
      segments: tokens.map((token) => ({ token })),
      peer: identityOf(peer),
      resource: { name, owner: subjectOf(tokens[0] ?? ""), currentPathIds },
    };
    const question = { method, peer, object: name, input };
    ask(source, question, audit);
    askBeyond(source, question, audit);
  };
}
