/** What a client does with a request, in order. Read this first. */
import type { ConnectionApi } from "../api.js";
import { type ChainObserver, chain, type Handler } from "../chain.js";
import type { Clock } from "../clock.js";
import { enterPath } from "../elements/enter-path.js";
import { type ExchangeTokensOptions, exchangeTokens } from "../elements/exchange-tokens.js";
import { labelWorkload, type Whereabouts } from "../elements/label-workload.js";
import type { PeerIdentity } from "../peer.js";
import type { AnswerPolicy } from "../policies/answers.js";
import type { ConnectionClient } from "../transport/dial.js";

export interface ClientDeps {
  /** Name of the client in the path. */
  readonly name: string;
  /** Where the workload runs; becomes labels. */
  readonly workload: Whereabouts;
  readonly clock: Clock;
  readonly maxTokenLifetimeMs: number;
  /** Makes our token; undefined = no identity. */
  readonly mintToken: ExchangeTokensOptions["mintToken"];
  readonly nodeManager: ConnectionClient;
  /** What is demanded of answers; undefined = nothing. */
  readonly answers?: AnswerPolicy | undefined;
  readonly observer: ChainObserver | undefined;
}

export function clientChain(deps: ClientDeps): Handler<ConnectionApi> {
  return (
    chain<ConnectionApi>("client", ["request", "close"], deps.observer)
      // Who asks?
      .use(enterPath(deps.name))
      .use(labelWorkload(deps.workload))
      // How long may it live without a refresh?
      .use(exchangeTokens({ clock: deps.clock, maxTokenLifetimeMs: deps.maxTokenLifetimeMs, mintToken: deps.mintToken }))
      .end(toNodeManager(deps.nodeManager, deps.answers))
  );
}

function toNodeManager(nodeManager: ConnectionClient, answers: AnswerPolicy | undefined): Handler<ConnectionApi> {
  return {
    async request(request, { signal, deadlineMs, traceparent }) {
      let server: PeerIdentity | undefined;
      const onPeer = (peer: PeerIdentity | undefined): void => {
        server = peer;
      };
      const answer = await nodeManager.request(request, { signal, deadlineMs, traceparent, onPeer });
      answers?.(answer, server);
      return answer;
    },
    close: (connection, { signal, deadlineMs, traceparent }) =>
      nodeManager.close(connection, { signal, deadlineMs, traceparent }),
  };
}
