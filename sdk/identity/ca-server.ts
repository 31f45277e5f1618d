/** The built-in certificate authority as a server: gives a certificate to who has a join token, or still has one. */
import { createHash, createPublicKey, type KeyObject } from "node:crypto";
import type { CallContext } from "../chain.js";
import { systemClock } from "../clock.js";
import { type IssueRequest, IssueResponse } from "../gen/authority.js";
import { pause } from "../pause.js";
import { describePeer, identityOf } from "../peer.js";
import { Code, statusError, toStatusError } from "../status.js";
import type { Log } from "../telemetry/log.js";
import type { ServiceBinding } from "../transport/edge.js";
import { listen } from "../transport/listen.js";
import type { Authority } from "./authority.js";
import { caPath, issueMethod } from "./ca-methods.js";
import { identityOver } from "./identity.js";
import { checkJoinToken, type JoinToken } from "./join-token.js";
import { createHolder } from "./source.js";
import { parseSpiffeId } from "./spiffe-id.js";
import { makeSvid, type X509Svid } from "./svid.js";

/** Which tokens have been used, and for which key; survives a restart where there is a folder for it. */
export interface UsedTokens {
  /** The key that used this token; undefined = unused. */
  keyOf(nonce: string): string | undefined;
  /** Kept until the token ends anyway. */
  use(nonce: string, key: string, expiresMs: number): void;
}

export interface CaServerOptions {
  readonly listenOn: readonly string[];
  readonly authority: Authority;
  readonly used: UsedTokens;
  /**
   * Knows a service account token of Kubernetes; gives the SPIFFE ID of its holder.
   * @throws UNAUTHENTICATED; UNAVAILABLE when nobody could be asked
   */
  readonly attest?: ((token: string, wanted: string) => Promise<string>) | undefined;
  /** Life of the certificates, in milliseconds. */
  readonly lifetimeMs: number;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** @throws as `listen` */
export async function serveCa(options: CaServerOptions): Promise<{ readonly urls: readonly string[]; stop(): Promise<void> }> {
  const { authority, lifetimeMs, log } = options;
  const stopping = new AbortController();
  const own = createHolder(log);
  const first = await ownSvid(authority, lifetimeMs);
  own.set(first);
  void renewOwn(first);
  const identity = identityOver(
    own.source(() => stopping.abort()),
    { clock: systemClock, maxTokenLifetimeMs: lifetimeMs },
  );
  const service: ServiceBinding = {
    name: "weft.Authority",
    bind: (edge) => edge.unary(issueMethod, (request, context) => issue(options, request, context)),
  };
  try {
    const { listenOn: urls, signal } = options;
    const listener = await listen({ urls, services: [service], identity, strangersWelcome: true, log, signal });
    return {
      urls: listener.urls,
      async stop() {
        identity.close();
        await listener.drain(1_000);
      },
    };
  } catch (error) {
    identity.close();
    throw error;
  }

  async function renewOwn(last: X509Svid): Promise<void> {
    for (let svid = last; ; ) {
      await pause(Math.min((svid.notAfterMs - Date.now()) / 2, 2 ** 31 - 1), stopping.signal);
      if (stopping.signal.aborted) return;
      svid = await ownSvid(authority, lifetimeMs);
      own.set(svid);
    }
  }
}

async function ownSvid(authority: Authority, lifetimeMs: number): Promise<X509Svid> {
  const { certificate, privateKey } = await authority.issue([`spiffe://${authority.trustDomain}${caPath}`], { lifetimeMs });
  // the root goes along: who joins knows only its fingerprint
  const chain = [certificate, authority.certificate];
  return makeSvid(chain, privateKey, new Map([[authority.trustDomain, [authority.certificate]]]));
}

async function issue(options: CaServerOptions, request: IssueRequest, context: CallContext): Promise<IssueResponse> {
  const { authority, lifetimeMs, log } = options;
  checkKey(request.public_key);
  let id: string;
  try {
    id = request.join_token === "" ? renewedId(context) : await joinedId(options, request);
    const { path, trustDomain } = parseSpiffeId(id);
    if (trustDomain !== authority.trustDomain) throw refused(`${id} is not of ${authority.trustDomain}`);
    if (path === caPath || path === "") throw refused(`${id} is given to nobody`);
  } catch (error) {
    if (toStatusError(error).code === Code.UNAVAILABLE) throw error;
    // the reason stays in the log, with who asked
    throw statusError(Code.UNAUTHENTICATED, "no certificate is issued for this", error);
  }
  const certificate = await authority.certify(id, request.public_key, { lifetimeMs });
  log.info(request.join_token === "" ? "certificate renewed" : "certificate issued", {
    spiffeId: id,
    until: certificate.validTo,
    peer: describePeer(context.peer),
  });
  return IssueResponse.fromPartial({ certificates: [certificate.raw], bundle: [authority.certificate.raw] });
}

function renewedId({ peer }: CallContext): string {
  const identity = identityOf(peer);
  if (identity === undefined) throw refused("neither a join token nor a certificate was shown");
  if (identity.notAfterMs <= Date.now()) throw refused(`the certificate of ${identity.spiffeId} has ended`);
  return identity.spiffeId;
}

async function joinedId({ authority, used, attest }: CaServerOptions, request: IssueRequest): Promise<string> {
  // a JWT has three parts, a token of ours two
  if (attest !== undefined && request.join_token.split(".").length === 3) return attest(request.join_token, request.spiffe_id);
  const token = checkJoinToken(request.join_token, authority.certificate, Date.now());
  const key = createHash("sha256").update(request.public_key).digest("hex");
  if (!token.reusable) {
    // the same key again is the same try again: its answer was lost
    if ((used.keyOf(token.nonce) ?? key) !== key) throw refused(`the join token for ${token.spiffeId} has been used already`);
    used.use(token.nonce, key, token.expiresMs);
  }
  return idOf(token, request.spiffe_id);
}

function idOf({ spiffeId }: JoinToken, wanted: string): string {
  if (!spiffeId.endsWith("/*")) {
    if (wanted !== "" && wanted !== spiffeId) throw refused(`the join token is for ${spiffeId}, not for ${wanted}`);
    return spiffeId;
  }
  if (!wanted.startsWith(spiffeId.slice(0, -1))) throw refused(`the join token is for ${spiffeId}, not for "${wanted}"`);
  return wanted;
}

function checkKey(der: Buffer): void {
  let key: KeyObject | undefined;
  try {
    key = createPublicKey({ key: der, format: "der", type: "spki" });
  } catch {}
  if (key?.asymmetricKeyDetails?.namedCurve !== "prime256v1") {
    throw statusError(Code.INVALID_ARGUMENT, "public_key is no EC P-256 key (SubjectPublicKeyInfo, DER)");
  }
}

function refused(why: string) {
  return statusError(Code.UNAUTHENTICATED, why);
}
