/**
 * An identity from the built-in authority (`weft ca`): a join token gives the first certificate, each certificate gives
 * the next one at half of its life. Keys are made here and never leave.
 */
import { generateKeyPairSync, type KeyObject, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { Socket } from "node:net";
import { connect } from "node:tls";
import { IssueRequest, type IssueResponse } from "../gen/authority.js";
import { pause } from "../pause.js";
import { Code, type StatusError, statusError, toStatusError } from "../status.js";
import type { Log } from "../telemetry/log.js";
import { type Address, parseAddress } from "../transport/address.js";
import { createCaller } from "../transport/call.js";
import { createChannelPool } from "../transport/channel-pool.js";
import { type ChannelTls, chainOf, contextOf, handshake } from "../transport/tls.js";
import { caPath, issueMethod } from "./ca-methods.js";
import { certificateNames } from "./certificate.js";
import { fingerprintOf, readJoinToken } from "./join-token.js";
import { createHolder, type IdentitySource, type SourceOptions } from "./source.js";
import { parseSpiffeId } from "./spiffe-id.js";
import { makeSvid, type X509Svid } from "./svid.js";
import { verifyPeer } from "./verify-peer.js";

export interface CaClientOptions {
  readonly url: string;
  /** A join token; or a file with a service account token of Kubernetes, and the SHA-256 of the root (hex). */
  readonly join: { readonly token: string } | { readonly file: string; readonly root: string };
  /** Which SPIFFE ID, when the token is for a whole path. */
  readonly spiffeId?: string | undefined;
}

const firstPauseMs = 200;
const longestPauseMs = 10_000;
const callMs = 10_000;
/** An answer is some certificates. */
const maxAnswerBytes = 4 * 1024 * 1024;

/**
 * Waits until the authority answers.
 * @throws INVALID_ARGUMENT the url or the token is malformed; UNAUTHENTICATED the authority refuses the token, or is not the
 *         one that made it; the reason of `signal`
 */
export async function identityFromCa(options: CaClientOptions, { log, signal }: SourceOptions): Promise<IdentitySource> {
  const { url, join } = options;
  const { root } = "file" in join ? join : readJoinToken(join.token);
  const target: Target = { address: parseAddress(url), root, log };
  const holder = createHolder(log);
  const first = await untilIssued(
    () => issue(target, options, undefined),
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
          svid = await issue(target, options, svid.notAfterMs > Date.now() ? svid : undefined);
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

interface Target {
  readonly address: Address;
  /** Fingerprint of the authority's own certificate. */
  readonly root: string;
  readonly log: Log;
}

/** @param before  the certificate that vouches for us; undefined = the join token does */
async function issue(target: Target, options: CaClientOptions, before: X509Svid | undefined): Promise<X509Svid> {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const response = await ask(
    target,
    before,
    IssueRequest.fromPartial({
      join_token: before === undefined ? await tokenOf(options) : "",
      public_key: publicKey.export({ type: "spki", format: "der" }),
      spiffe_id: options.spiffeId ?? "",
    }),
  );
  return svidOf(response, privateKey, target.root);
}

async function tokenOf({ join }: CaClientOptions): Promise<string> {
  if ("token" in join) return join.token;
  try {
    // the kubelet replaces it while we run
    return (await readFile(join.file, "utf8")).trim();
  } catch (error) {
    throw statusError(Code.UNAVAILABLE, `${join.file} (WEFT_JOIN_TOKEN_FILE) cannot be read: ${(error as Error).message}`, error);
  }
}

function svidOf({ certificates, bundle }: IssueResponse, privateKey: KeyObject, root: string): X509Svid {
  const authorities = bundle.map((der) => new X509Certificate(der));
  const known = authorities.find((authority) => fingerprintOf(authority) === root);
  if (known === undefined) {
    throw statusError(Code.UNAUTHENTICATED, "the authority's own certificate is not the one of the join token");
  }
  const chain = certificates.map((der) => new X509Certificate(der));
  const svid = makeSvid(chain, privateKey, new Map([[trustDomainOf(known), authorities]]));
  verifyPeer(chain, svid.bundles, Date.now());
  return svid;
}

async function ask({ address, root, log }: Target, before: X509Svid | undefined, request: IssueRequest): Promise<IssueResponse> {
  const pool = createChannelPool({
    tls: authorityTls(root, before),
    log,
    maxMessageBytes: maxAnswerBytes,
    dialTimeoutMs: callMs,
    passDescriptors: "never",
  });
  try {
    const limits = { signal: AbortSignal.timeout(callMs), deadlineMs: Date.now() + callMs };
    return await createCaller(pool).unary(issueMethod, address, request, limits);
  } finally {
    pool.close();
  }
}

/** TLS with the authority, whom we know by its fingerprint, and who may not know us yet. */
function authorityTls(root: string, before: X509Svid | undefined): ChannelTls {
  let failure: StatusError | undefined;
  return {
    async secure(socket) {
      try {
        return await greetAuthority(socket, root, before);
      } catch (error) {
        failure = toStatusError(error);
        throw failure;
      }
    },
    current: () => undefined,
    failure: () => failure,
    stale: () => false,
  };
}

/** The server must be the authority whose root certificate the token names. */
function greetAuthority(socket: Socket, fingerprint: string, before: X509Svid | undefined): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const context = before === undefined ? {} : { secureContext: contextOf(before) };
    const secured = connect({ ...handshake, ...context, socket }, () => {
      try {
        const chain = chainOf(secured);
        const root = chain.find((certificate) => fingerprintOf(certificate) === fingerprint);
        if (root === undefined) throw statusError(Code.UNAUTHENTICATED, "the server is not the authority of the join token");
        const { id, path } = verifyPeer(chain, new Map([[trustDomainOf(root), [root]]]), Date.now());
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

/** The root that `weft ca` makes names its trust domain. */
function trustDomainOf(root: X509Certificate): string {
  return parseSpiffeId(certificateNames(root).uris[0] ?? "").trustDomain;
}
