/** weft new: the source of a smallest endpoint or client, on standard output. */
import { Code, statusError } from "../../sdk/status.js";
import type { CliContext } from "../context.js";

/** The same programs as in examples/, with the SDK's published name. */
const skeletons: ReadonlyMap<string, (service: string) => string> = new Map([
  [
    "endpoint",
    (service) => `// Serves the network service "${service}" until Ctrl-C:  node endpoint.js [URL of the node manager]
import { serve } from "@weft/sdk";

const nsmgr = process.argv[2] ?? "unix:///var/lib/networkservicemesh/nsm.io.sock";
const stop = new AbortController();
process.once("SIGINT", () => stop.abort()).once("SIGTERM", () => stop.abort());

const endpoint = await serve({
  name: "${service}-1",
  services: ["${service}"],
  cidrs: ["172.16.1.0/24", "fd00:16::/64"],
  labels: { app: "${service}" },
  onConnection: ({ connection, interfaceName }) => console.log(\`\${connection.id} is on \${interfaceName}\`),
  nsmgr,
  signal: stop.signal,
});
console.log(\`\${endpoint.name} serves ${service}\`);
`,
  ],
  [
    "client",
    (service) => `// Connects to the network service "${service}" until Ctrl-C:  node client.js [URL of the node manager]
import { connect } from "@weft/sdk";

const nsmgr = process.argv[2] ?? "unix:///var/lib/networkservicemesh/nsm.io.sock";
const stop = new AbortController();
process.once("SIGINT", () => stop.abort()).once("SIGTERM", () => stop.abort());

const connection = await connect({ url: "kernel://${service}", nsmgr, signal: stop.signal });
console.log(\`connected: \${connection.interfaceName}\`, connection.context.ip_context?.src_ip_addrs);
for await (const change of connection.changes) console.log(change.kind);
`,
  ],
]);

export async function printSkeleton(what: string, service: string, { out }: CliContext): Promise<number> {
  const skeleton = skeletons.get(what);
  if (skeleton === undefined) {
    throw statusError(Code.INVALID_ARGUMENT, `"${what}" cannot be made; there are ${[...skeletons.keys()].join(", ")}`);
  }
  if (!/^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$/.test(service)) {
    throw statusError(
      Code.INVALID_ARGUMENT,
      `"${service}" is no name of a network service: use letters, digits, "-", "." and "_"`,
    );
  }
  out.write(skeleton(service));
  return 0;
}
