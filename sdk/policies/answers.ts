/** What a client demands of the path in an answer: that every hop on the way has vouched for it. */
import type { Connection } from "../gen/connection.js";
import type { PeerIdentity } from "../peer.js";
import { Code, statusError } from "../status.js";
import type { Audit } from "./audit.js";
import { foreignAnswer } from "./beyond-rules.js";
import { type PolicySource, textOf } from "./policy.js";

/**
 * @param server  who answered, as the connection to it has shown
 * @throws PERMISSION_DENIED with the reason: it stays in this process
 */
export type AnswerPolicy = (answer: Connection, server: PeerIdentity | undefined) => void;

export function answerPolicy(source: PolicySource, audit: Audit): AnswerPolicy {
  return (answer, server) => {
    const { index, path_segments: segments } = answer.path ?? { index: 0, path_segments: [] };
    const input = { index, segments, peer: server };
    const policies = source.current();
    const beyond = policies.length === 0 ? [] : [{ name: "own name", decide: () => foreignAnswer(input, server) }];
    for (const { name, decide } of [...policies, ...beyond]) {
      const reason = reasonOf(() => decide(input));
      if (reason === undefined) continue;
      const address = server?.spiffeId ?? "a server without identity";
      const peer = { kind: "tcp" as const, address, ...(server === undefined ? {} : { spiffeId: server.spiffeId }) };
      audit({ method: "answer", peer, object: answer.id, policy: name, reason });
      const text = `the answer for connection ${answer.id} is not trusted (${name}): ${reason}`;
      throw statusError(Code.PERMISSION_DENIED, text);
    }
  };
}

function reasonOf(decide: () => string | undefined): string | undefined {
  try {
    return decide();
  } catch (error) {
    return `the policy cannot be evaluated: ${textOf(error)}`;
  }
}
