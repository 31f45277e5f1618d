/**
 * exchange-tokens — writes who vouches for the connection, and until when, into the path.
 * Does:   the caller's token and expiry from its request headers go into the previous segment; our own into ours
 * Fails:  INVALID_ARGUMENT when the caller's expiry is no RFC 3339 time
 * Source: NSM wire contract §7; exactly one value of each header counts, anything else is as if there were none.
 */
import type { ConnectionApi } from "../api.js";
import type { CallContext, Element } from "../chain.js";
import type { Clock } from "../clock.js";
import { Connection } from "../gen/connection.js";
import { readClaims } from "../identity/tokens.js";
import { withCurrentSegment, withSegment } from "../path.js";
import type { Peer } from "../peer.js";
import { Code, statusError } from "../status.js";
import { timestampOf } from "../timestamp.js";

export interface Token {
  readonly token: string;
  readonly expiresMs: number;
}

export interface ExchangeTokensOptions {
  readonly clock: Clock;
  /** How long a hop vouches without an identity, in milliseconds. */
  readonly maxTokenLifetimeMs: number;
  /** Makes our token for the caller; absent = no identity: only the expiry is written. */
  readonly mintToken?: ((audience: Peer) => Promise<Token>) | undefined;
}

export function exchangeTokens(options: ExchangeTokensOptions): Element<ConnectionApi> {
  const { clock, maxTokenLifetimeMs, mintToken } = options;

  async function write(connection: Connection, context: CallContext): Promise<Connection> {
    const given = tokenOf(context, mintToken !== undefined);
    const own = mintToken ? await mintToken(context.peer) : { token: "", expiresMs: clock.nowMs() + maxTokenLifetimeMs };
    const index = connection.path?.index ?? 0;
    const vouched =
      given === undefined || index === 0
        ? connection
        : withSegment(connection, index - 1, (segment) => ({
            ...segment,
            token: given.token,
            expires: timestampOf(given.expiresMs),
          }));
    return withCurrentSegment(vouched, (segment) => ({ ...segment, token: own.token, expires: timestampOf(own.expiresMs) }));
  }

  return {
    name: "exchange-tokens",
    steps: {
      async request(request, context, rest) {
        const connection = await write(request.connection ?? Connection.fromPartial({}), context);
        return rest.request({ ...request, connection });
      },
      close: async (connection, context, rest) => rest.close(await write(connection, context)),
    },
  };
}

/** @param isBound  a token is believed no longer than it says itself */
function tokenOf(context: CallContext, isBound: boolean): Token | undefined {
  const [token, ...moreTokens] = context.metadata("nsm-client-token");
  const [expires, ...moreExpiries] = context.metadata("nsm-client-token-expires");
  if (token === undefined || expires === undefined || moreTokens.length > 0 || moreExpiries.length > 0) return undefined;
  const expiresMs = Date.parse(expires);
  if (Number.isNaN(expiresMs)) {
    throw statusError(Code.INVALID_ARGUMENT, `header nsm-client-token-expires "${expires.slice(0, 64)}" is no RFC 3339 time`);
  }
  const ownEndS = isBound ? readClaims(token)?.expS : undefined;
  return { token, expiresMs: ownEndS === undefined ? expiresMs : Math.min(expiresMs, ownEndS * 1000) };
}
