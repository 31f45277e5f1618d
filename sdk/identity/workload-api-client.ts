/**
 * An identity from the SPIFFE Workload API (SPIFFE standard "Workload API"): the agent streams SVIDs, one message for
 * each rotation of certificate or bundles. Through an outage of the agent, and through nonsense from it, the last good
 * SVID stays.
 */
import { Client, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import { X509SVIDRequest, X509SVIDResponse } from "../gen/workload.js";
import { Code, codeName, statusError, toStatusError } from "../status.js";
import { dialTarget, parseAddress } from "../transport/address.js";
import { createHolder, firstOf, type IdentitySource, pause, type SourceOptions } from "./source.js";
import { parseSpiffeId } from "./spiffe-id.js";
import { certificatesOfDer, makeSvid, privateKeyOf, type X509Svid } from "./svid.js";

export const fetchSvidPath = "/SpiffeWorkloadAPI/FetchX509SVID";
/** Every call must carry it, so that no web page can make one (standard §5.1). */
export const workloadHeader = "workload.spiffe.io";

const firstPauseMs = 100;
const longestPauseMs = 10_000;
/** An answer is some certificates; a bound on what an agent can make us hold. */
const maxAnswerBytes = 4 * 1024 * 1024;

/**
 * Waits until the agent gives an SVID: it may come up after us.
 * @param url  SPIFFE_ENDPOINT_SOCKET: unix:///path or tcp://address:port
 * @throws INVALID_ARGUMENT for a malformed url, or when the agent says that the call itself is wrong; the reason of `signal`
 */
export async function identityFromWorkloadApi(url: string, { log, signal }: SourceOptions): Promise<IdentitySource> {
  const target = dialTarget(parseAddress(url));
  const holder = createHolder(log);
  const stopping = new AbortController();
  let started = false;
  const following = follow();
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
      const { received, error } = await readStream(target, stopping.signal, accept);
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
function readStream(
  target: string,
  signal: AbortSignal,
  onMessage: (response: X509SVIDResponse) => void,
): Promise<{ received: boolean; error: ServiceError | ReturnType<typeof statusError> }> {
  return new Promise((resolve) => {
    const client = new Client(target, credentials.createInsecure(), {
      "grpc.use_local_subchannel_pool": 1,
      "grpc.enable_http_proxy": 0,
      "grpc.service_config_disable_resolution": 1,
      "grpc.max_receive_message_length": maxAnswerBytes,
    });
    const headers = new Metadata();
    headers.set(workloadHeader, "true");
    const call = client.makeServerStreamRequest(
      fetchSvidPath,
      (message: X509SVIDRequest) => Buffer.from(X509SVIDRequest.encode(message).finish()),
      (bytes: Buffer) => X509SVIDResponse.decode(bytes),
      X509SVIDRequest.fromPartial({}),
      headers,
    );
    const cancel = (): void => call.cancel();
    signal.addEventListener("abort", cancel);
    let received = false;
    const end = (error: ServiceError | ReturnType<typeof statusError>): void => {
      signal.removeEventListener("abort", cancel);
      client.close();
      resolve({ received, error });
    };
    call.on("data", (response: X509SVIDResponse) => {
      received = true;
      onMessage(response);
    });
    // more than one may come; all but the first change nothing
    call.on("error", (error: ServiceError) => end(error));
    call.on("end", () => end(statusError(Code.UNAVAILABLE, "the agent ended the stream")));
    if (signal.aborted) cancel();
  });
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
