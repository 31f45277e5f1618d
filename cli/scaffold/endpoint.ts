/** A new endpoint: serves a network service, and is asked for it in its test. */
import { type Files, mainHead, type Project, projectFiles } from "./project.js";

export function endpointFiles(project: Project): Files {
  return {
    ...projectFiles(project, "endpoint", []),
    "README.md": readme(project),
    "src/main.ts": `${mainHead(project, [], true)}
const endpoint = await serveService({ name, service, nsmgr, identity, log, signal, ...listenOn });
log.info("serves", { service, url: endpoint.url });
await endpoint.closed;
identity?.close();
`.replace('from "@weft/sdk";\n', 'from "@weft/sdk";\nimport { serveService } from "./endpoint.js";\n'),
    "src/endpoint.ts": endpoint,
    "src/main.test.ts": test(project),
  };
}

const endpoint = `/** What this endpoint gives to its clients. */
import { type Identity, type Log, type Serving, serve } from "@weft/sdk";

export interface Surroundings {
  readonly name: string;
  readonly service: string;
  readonly nsmgr: string;
  readonly identity: Identity | undefined;
  readonly log: Log;
  readonly signal: AbortSignal;
  readonly listenOn?: readonly string[];
}

export function serveService({ name, service, nsmgr, identity, log, signal, ...listening }: Surroundings): Promise<Serving> {
  return serve({
    name,
    services: [service],
    // each client gets a pair of addresses of every pool: one for itself, one for our end
    cidrs: ["172.20.1.0/24", "fd00:20:1::/64"],
    labels: { app: service },
    // what is thrown here refuses the client
    onConnection: ({ connection, interfaceName }) => log.info("a client", { connection: connection.id, interfaceName }),
    nsmgr,
    identity,
    log,
    signal,
    ...listening,
  });
}
`;

function test({ service }: Project): string {
  return `/** A whole mesh in this process, without root: what is negotiated is real, packets are not sent. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createLog } from "@weft/sdk";
import { startDomain } from "@weft/testing";
import { serveService } from "./endpoint.js";

test("a client is given addresses of our pools", async (t) => {
  const domain = await startDomain({ nodes: 2 });
  t.after(() => domain.stop());
  const stop = new AbortController();
  const [near, far] = domain.nodes;
  assert.ok(far !== undefined);
  const log = createLog({ name: "test", level: "error" });
  const endpoint = await serveService({
    name: "endpoint-1",
    service: "${service}",
    nsmgr: far.url,
    identity: undefined,
    log,
    signal: stop.signal,
  });
  t.after(() => endpoint.close());
  const connection = await near.connect({ url: "kernel://${service}/nsm-1", signal: stop.signal });
  assert.deepEqual(connection.context.ip_context?.src_ip_addrs, ["172.20.1.1/32", "fd00:20:1::1/128"]);
  assert.equal(endpoint.connections.length, 1);
  await connection.close();
  assert.equal(endpoint.connections.length, 0);
});
`;
}

function readme({ name, service }: Project): string {
  return `# ${name}

An endpoint of the network service \`${service}\`.

\`\`\`sh
npm install
npm test                                          # a mesh in one process, no root
npm run build
weft up                                           # a mesh of two nodes on this machine (root)
weft run ${name} --node node-2 -d -- npm start --silent
weft connect ${service} -d                        # a client on node-1
weft get connections
weft down
\`\`\`

\`src/endpoint.ts\` says what clients get. \`Dockerfile\` and \`chart/\` put it on a cluster:
\`helm install ${name} chart --set image=REGISTRY/${name}:0.1.0\`.
`;
}
