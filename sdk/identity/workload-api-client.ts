/**
 * An identity from the SPIFFE Workload API (SPIFFE standard "Workload API"): the agent streams SVIDs, one message for
 * each rotation of certificate or bundles. Through an outage of the agent, and through nonsense from it, the last good
 * SVID stays.
 */
import { X509SVIDRequest, X509SVIDResponse } from "../gen/workload.js";
import { pause } from "../pause.js";
import { Code, codeName, type StatusError, statusError, toStatusError } from "../status.js";
import { type Address, parseAddress } from "../transport/address.js";
import { type Caller, createCaller } from "../transport/call.js";
import { createChannelPool } from "../transport/channel-pool.js";
import type { Method } from "../transport/methods.js";
import { createHolder, firstOf, type IdentitySource, type SourceOptions } from "./source.js";
import { parseSpiffeId } from "./spiffe-id.js";
import { certificatesOfDer, makeSvid, privateKeyOf, type X509Svid } from "./svid.js";

export const fetchSvid: Method<X509SVIDRequest, X509SVIDResponse> = {
  path: "/SpiffeWorkloadAPI/FetchX509SVID",
  responseStream: true,
  request: X509SVIDRequest,
  response: X509SVIDResponse,
};
/** Every call must carry it, so that no web page can make one (standard §5.1). */
export const workloadHeader = "workload.spiffe.io";

const firstPauseMs = 100;
const longestPauseMs = 10_000;
/** An answer is some certificates; a bound on what an agent can make us hold. */
const maxAnswerBytes = 4 * 1024 * 1024;
const dialTimeoutMs = 5_000;

/**
 * Waits until the agent gives an SVID: it may come up after us.
 * @param url  SPIFFE_ENDPOINT_SOCKET: unix:///path or tcp://address:port
 * @throws INVALID_ARGUMENT for a malformed url, or when the agent says that the call itself is wrong; the reason of `signal`
 */
export async function identityFromWorkloadApi(url: string, { log, signal }: SourceOptions): Promise<IdentitySource> {
  const address = parseAddress(url);
  const pool = createChannelPool({ log, maxMessageBytes: maxAnswerBytes, dialTimeoutMs, passDescriptors: "never" });
  const caller = createCaller(pool);
  const holder = createHolder(log);
  const stopping = new AbortController();
  let started = false;
  const following = follow().finally(() => pool.close());
  try {
    await Promise.race([firstOf(holder, signal), following]);
    started = true;
  } catch (error) {
    stopping.abort();
    await following.catch(() => {});
    throw error;
  }
  return holder.source(() => stopping.abort());

  /** One stream after another, until closed. */
  async function follow(): Promise<void> {
    let pauseMs = firstPauseMs;
    while (!stopping.signal.aborted) {
      const { received, error } = await readStream(caller, address, stopping.signal, accept);
      if (stopping.signal.aborted) return;
      if (error.code === Code.INVALID_ARGUMENT && !started && !received) {
        throw statusError(error.code, `${url}: ${error.details}`, error);
      }
      if (received) pauseMs = firstPauseMs;
      log.warn("the SPIFFE Workload API does not answer; trying again", {
        url,
        code: codeName(error.code),
        reason: hint(error.code, error.details),
        pauseMs,
      });
      await pause(pauseMs, stopping.signal);
      pauseMs = Math.min(longestPauseMs, pauseMs * 2);
    }
  }

  function accept(response: X509SVIDResponse): void {
    try {
      holder.set(svidOf(response));
    } catch (error) {
      log.error("the SPIFFE Workload API sent an identity that cannot be used; the last one stays", {
        url,
        error: toStatusError(error),
      });
    }
  }
}

function hint(code: Code, details: string): string {
  if (code !== Code.PERMISSION_DENIED) return details;
  return `${details} (the agent knows no identity for this process: is there a registration entry for it?)`;
}

/** Reads until the stream ends, in whatever way. */
async function readStream(
  caller: Caller,
  address: Address,
  signal: AbortSignal,
  onMessage: (response: X509SVIDResponse) => void,
): Promise<{ readonly received: boolean; readonly error: StatusError }> {
  let received = false;
  try {
    const call = { signal, metadata: { [workloadHeader]: "true" } };
    for await (const response of caller.stream(fetchSvid, address, X509SVIDRequest.fromPartial({}), call)) {
      received = true;
      onMessage(response);
    }
    return { received, error: statusError(Code.UNAVAILABLE, "the agent ended the stream") };
  } catch (error) {
    return { received, error: toStatusError(error) };
  }
}

/** @throws INVALID_ARGUMENT */
export function svidOf(response: X509SVIDResponse): X509Svid {
  const [svid] = response.svids;
  if (svid === undefined) throw statusError(Code.INVALID_ARGUMENT, "the answer holds no SVID");
  const id = parseSpiffeId(svid.spiffe_id);
  const bundles = new Map([[id.trustDomain, certificatesOfDer(Buffer.from(svid.bundle), `the bundle of ${id.trustDomain}`)]]);
  for (const [name, der] of Object.entries(response.federated_bundles)) {
    const { trustDomain } = parseSpiffeId(name);
    // the own bundle counts, not what federation says of it
    if (trustDomain !== id.trustDomain) {
      bundles.set(trustDomain, certificatesOfDer(Buffer.from(der), `the bundle of ${trustDomain}`));
    }
  }
  const what = `the SVID ${id.id}`;
  const made = makeSvid(
    certificatesOfDer(Buffer.from(svid.x509_svid), what),
    privateKeyOf(Buffer.from(svid.x509_svid_key), `the key of ${what}`),
    bundles,
  );
  if (made.id.id !== id.id) {
    throw statusError(Code.INVALID_ARGUMENT, `the answer says ${id.id}, its certificate says ${made.id.id}`);
  }
  return made;
}
