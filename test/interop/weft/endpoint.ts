/** An endpoint made with the SDK, as its users make one. */
import { serve } from "../../../sdk/endpoint/serve.js";
import { createLog } from "../../../sdk/telemetry/log.js";
import { described, emit } from "./emit.js";
import { workloadIdentity } from "./identity.js";

export async function runEndpoint(env: Readonly<Record<string, string | undefined>>, signal: AbortSignal): Promise<number> {
  const name = env["NSM_NAME"] ?? "";
  const log = createLog({ name, level: "warn" });
  const identity = await workloadIdentity(env, { log, signal });
  const endpoint = await serve({
    identity,
    name,
    services: [env["INTEROP_SERVICE"] ?? ""],
    cidrs: ["172.16.100.0/24"],
    nsmgr: env["NSM_CONNECT_TO"] ?? "",
    listenOn: [env["NSM_LISTEN_ON"] ?? ""],
    onConnection({ connection, closed }) {
      emit("opened", described(connection));
      closed.addEventListener("abort", () => emit("closed", described(connection)), { once: true });
    },
    log,
    signal,
  });
  emit("ready", { name: endpoint.name });
  await endpoint.closed;
  identity?.close();
  return 0;
}
