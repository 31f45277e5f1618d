/**
 * An identity from the built-in authority (`weft ca`): a join token gives the first certificate, each certificate gives
 * the next one at half of its life. Keys are made here and never leave.
 */
import { generateKeyPairSync, type KeyObject, X509Certificate } from "node:crypto";
import type { Socket } from "node:net";
import { connect } from "node:tls";
import { Client, type ServiceError } from "@grpc/grpc-js";
import { IssueRequest, IssueResponse } from "../gen/authority.js";
import { Code, type StatusError, statusError, toStatusError } from "../status.js";
import { dialTarget, parseAddress } from "../transport/address.js";
import { chainOf, contextOf, credentialsOver, handshake } from "../transport/tls.js";
import { caPath, issuePath } from "./ca-server.js";
import { fingerprintOf, type JoinToken, readJoinToken } from "./join-token.js";
import { createHolder, type IdentitySource, pause, type SourceOptions } from "./source.js";
import { parseSpiffeId } from "./spiffe-id.js";
import { makeSvid, type X509Svid } from "./svid.js";
import { verifyPeer } from "./verify-peer.js";

export interface CaClientOptions {
  readonly url: string;
  readonly joinToken: string;
  /** Which SPIFFE ID, when the token is for a whole path. */
  readonly spiffeId?: string | undefined;
}

const firstPauseMs = 200;
const longestPauseMs = 10_000;
const callMs = 10_000;

/**
 * Waits until the authority answers.
 * @throws INVALID_ARGUMENT the url or the token is malformed; UNAUTHENTICATED the authority refuses the token, or is not the
 *         one that made it; the reason of `signal`
 */
export async function identityFromCa(options: CaClientOptions, { log, signal }: SourceOptions): Promise<IdentitySource> {
  const { url, joinToken } = options;
  const token = readJoinToken(joinToken);
  const target = dialTarget(parseAddress(url));
  const holder = createHolder(log);
  const first = await untilIssued(
    () => issue(target, token, options, undefined),
    signal,
    (error, pauseMs) => log.warn("the authority gives no certificate yet; trying again", { url, error, pauseMs }),
  );
  holder.set(first);
  const stopping = new AbortController();
  void renew(first);
  return holder.source(() => stopping.abort());

  async function renew(last: X509Svid): Promise<void> {
    for (let svid = last; ; ) {
      const lifeMs = svid.notAfterMs - Date.now();
      await pause(Math.min(Math.max(lifeMs / 2, 0), 2 ** 31 - 1), stopping.signal);
      let pauseMs = firstPauseMs;
      for (let renewed = false; !renewed; ) {
        if (stopping.signal.aborted) return;
        try {
          // what has ended renews nothing: then only a reusable token helps
          svid = await issue(target, token, options, svid.notAfterMs > Date.now() ? svid : undefined);
          holder.set(svid);
          renewed = true;
        } catch (error) {
          log.warn("the identity could not be renewed; trying again", {
            url,
            error: toStatusError(error),
            until: new Date(svid.notAfterMs).toISOString(),
            pauseMs,
          });
          await pause(pauseMs, stopping.signal);
          pauseMs = Math.min(longestPauseMs, pauseMs * 2);
        }
      }
    }
  }
}

async function untilIssued(
  attempt: () => Promise<X509Svid>,
  signal: AbortSignal,
  onFailure: (error: StatusError, pauseMs: number) => void,
): Promise<X509Svid> {
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(longestPauseMs, pauseMs * 2)) {
    signal.throwIfAborted();
    try {
      return await attempt();
    } catch (error) {
      const status = toStatusError(error);
      if (status.code !== Code.UNAVAILABLE && status.code !== Code.DEADLINE_EXCEEDED) throw status;
      onFailure(status, pauseMs);
      await pause(pauseMs, signal);
    }
  }
}

/** @param before  the certificate that vouches for us; undefined = the join token does */
async function issue(
  target: string,
  token: JoinToken,
  options: CaClientOptions,
  before: X509Svid | undefined,
): Promise<X509Svid> {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const response = await call(
    target,
    token,
    before,
    IssueRequest.fromPartial({
      join_token: before === undefined ? options.joinToken : "",
      public_key: publicKey.export({ type: "spki", format: "der" }),
      spiffe_id: options.spiffeId ?? "",
    }),
  );
  return svidOf(response, privateKey, token);
}

function svidOf({ certificates, bundle }: IssueResponse, privateKey: KeyObject, token: JoinToken): X509Svid {
  const { trustDomain } = parseSpiffeId(token.spiffeId.replace(/\/\*$/, ""));
  const authorities = bundle.map((der) => new X509Certificate(der));
  if (!authorities.some((authority) => fingerprintOf(authority) === token.root)) {
    throw statusError(Code.UNAUTHENTICATED, "the authority's own certificate is not the one of the join token");
  }
  const chain = certificates.map((der) => new X509Certificate(der));
  const svid = makeSvid(chain, privateKey, new Map([[trustDomain, authorities]]));
  verifyPeer(chain, svid.bundles, Date.now());
  return svid;
}

function call(target: string, token: JoinToken, before: X509Svid | undefined, request: IssueRequest): Promise<IssueResponse> {
  let refusal: StatusError | undefined;
  const credentials = credentialsOver(async (socket) => {
    try {
      return await greetAuthority(socket, token, before);
    } catch (error) {
      refusal = toStatusError(error);
      throw error;
    }
  });
  const client = new Client(target, credentials, {
    "grpc.use_local_subchannel_pool": 1,
    "grpc.enable_http_proxy": 0,
    "grpc.service_config_disable_resolution": 1,
    "grpc.enable_retries": 0,
  });
  return new Promise<IssueResponse>((resolve, reject) => {
    client.makeUnaryRequest(
      issuePath,
      (message: IssueRequest) => Buffer.from(IssueRequest.encode(message).finish()),
      (bytes: Buffer) => IssueResponse.decode(bytes),
      request,
      { deadline: Date.now() + callMs },
      (error: ServiceError | null, response?: IssueResponse) => {
        client.close();
        if (response !== undefined) resolve(response);
        else reject(refusal ?? toStatusError(error));
      },
    );
  });
}

/** The server must be the authority whose root certificate the token names. */
function greetAuthority(socket: Socket, token: JoinToken, before: X509Svid | undefined): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const context = before === undefined ? {} : { secureContext: contextOf(before) };
    const secured = connect({ ...handshake, ...context, socket }, () => {
      try {
        const chain = chainOf(secured);
        const root = chain.find((certificate) => fingerprintOf(certificate) === token.root);
        if (root === undefined) throw statusError(Code.UNAUTHENTICATED, "the server is not the authority of the join token");
        const { trustDomain } = parseSpiffeId(token.spiffeId.replace(/\/\*$/, ""));
        const { id, path } = verifyPeer(chain, new Map([[trustDomain, [root]]]), Date.now());
        if (path !== caPath) throw statusError(Code.UNAUTHENTICATED, `${id} is not the authority`);
        resolve(secured);
      } catch (error) {
        secured.destroy();
        reject(error);
      }
    });
    secured.on("error", (error) => reject(statusError(Code.UNAVAILABLE, "no TLS with the authority", error)));
    secured.once("close", () => reject(statusError(Code.UNAVAILABLE, "the authority closed the connection")));
  });
}
