/**
 * An identity from the built-in authority (`weft ca`): a join token gives the first certificate, each certificate gives
 * the next one at half of its life. Keys are made here and never leave.
 */
import { generateKeyPairSync, type KeyObject, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { Socket } from "node:net";
import { connect } from "node:tls";
import { Client, type ServiceError } from "@grpc/grpc-js";
import { IssueRequest, IssueResponse } from "../gen/authority.js";
import { Code, type StatusError, statusError, toStatusError } from "../status.js";
import { dialTarget, parseAddress } from "../transport/address.js";
import { credentialsOver } from "../transport/grpc-js-credentials.js";
import { chainOf, contextOf, handshake } from "../transport/tls.js";
import { caPath, issuePath } from "./ca-server.js";
import { certificateNames } from "./certificate.js";
import { fingerprintOf, readJoinToken } from "./join-token.js";
import { createHolder, type IdentitySource, pause, type SourceOptions } from "./source.js";
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

/**
 * Waits until the authority answers.
 * @throws INVALID_ARGUMENT the url or the token is malformed; UNAUTHENTICATED the authority refuses the token, or is not the
 *         one that made it; the reason of `signal`
 */
export async function identityFromCa(options: CaClientOptions, { log, signal }: SourceOptions): Promise<IdentitySource> {
  const { url, join } = options;
  const { root } = "file" in join ? join : readJoinToken(join.token);
  const target = dialTarget(parseAddress(url));
  const holder = createHolder(log);
  const first = await untilIssued(
    () => issue(target, root, options, undefined),
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
          svid = await issue(target, root, options, svid.notAfterMs > Date.now() ? svid : undefined);
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
async function issue(target: string, root: string, options: CaClientOptions, before: X509Svid | undefined): Promise<X509Svid> {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const response = await call(
    target,
    root,
    before,
    IssueRequest.fromPartial({
      join_token: before === undefined ? await tokenOf(options) : "",
      public_key: publicKey.export({ type: "spki", format: "der" }),
      spiffe_id: options.spiffeId ?? "",
    }),
  );
  return svidOf(response, privateKey, root);
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

function call(target: string, root: string, before: X509Svid | undefined, request: IssueRequest): Promise<IssueResponse> {
  let refusal: StatusError | undefined;
  const credentials = credentialsOver(async (socket) => {
    try {
      return await greetAuthority(socket, root, before);
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
