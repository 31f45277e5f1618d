/**
 * A workload that asks for more than anybody should, in a process of its own: as many requests under way as it is told,
 * each after the other without a pause, and no ear for when to try again. Commands on standard input: rage, rest.
 * It tells on standard output, after each rest, how many were served and how many refused.
 */
import { setPriority } from "node:os";
import { createInterface } from "node:readline";
import { NetworkServiceRequest } from "../../sdk/gen/networkservice.js";
import { startIdentity } from "../../sdk/identity/start.js";
import { ownInodeUrl } from "../../sdk/linux/netns.js";
import { Code, isStatusError } from "../../sdk/status.js";
import { silentLog } from "../../sdk/telemetry/log.js";
import { createDialer } from "../../sdk/transport/dial.js";

const { STORM_URL = "", STORM_WORKERS = "12", WEFT_TLS_CERT, WEFT_TLS_KEY, WEFT_TLS_BUNDLE = "" } = process.env;
// its own work is not what is measured: it takes what the others leave
setPriority(10);
const ending = new AbortController();
const identity = await startIdentity(
  {
    insecure: false,
    spiffeEndpointSocket: undefined,
    tlsCert: WEFT_TLS_CERT,
    tlsKey: WEFT_TLS_KEY,
    tlsBundle: [WEFT_TLS_BUNDLE],
    caUrl: undefined,
    joinToken: undefined,
  },
  { log: silentLog, signal: ending.signal },
);
const dialer = createDialer({ dialTimeoutMs: 5_000, identity });
let isRaging = false;
let round = 0;
let served = 0;
let refused = 0;
let others: string[] = [];
let example = "";
const wake: (() => void)[] = [];

for (let worker = 0; worker < Number(STORM_WORKERS); worker++) void work(worker);
const commands = createInterface({ input: process.stdin });
commands.on("line", (line) => {
  isRaging = line === "rage";
  if (isRaging) {
    round++;
    for (const go of wake.splice(0)) go();
    return;
  }
  process.stdout.write(`${JSON.stringify({ served, refused, others: others.slice(0, 3), example })}\n`);
  served = 0;
  refused = 0;
  others = [];
});
commands.once("close", () => {
  ending.abort();
  dialer.close();
  identity?.close();
  process.exit(0);
});
process.stdout.write("ready\n");

async function work(worker: number): Promise<void> {
  for (let n = 0; !ending.signal.aborted; n++) {
    if (!isRaging) await new Promise<void>((resolve) => wake.push(resolve));
    const id = `storm-${round}-${worker}-${n}`;
    const path = { index: 0, path_segments: [{ name: "storm", id }] };
    const request = NetworkServiceRequest.fromPartial({
      connection: { id, network_service: "service", path },
      mechanism_preferences: [{ cls: "LOCAL", type: "KERNEL", parameters: { inodeURL: ownInodeUrl(), name: "nsm-1" } }],
    });
    const call = { signal: ending.signal, deadlineMs: Date.now() + 15_000 };
    await dialer
      .connections(STORM_URL)
      .request(request, call)
      .then(
        () => void served++,
        (error: unknown) => {
          refused++;
          if (!isStatusError(error) || error.code !== Code.RESOURCE_EXHAUSTED) others.push(String(error));
          else example ||= error.details;
        },
      );
  }
}
