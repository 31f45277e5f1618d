/** A new client: asks for a network service and tells what becomes of its connection. */
import { type Files, mainHead, type Project, projectFiles } from "./project.js";

export function clientFiles(project: Project): Files {
  return {
    ...projectFiles(project, "client", []),
    "README.md": readme(project),
    "src/main.ts": `${mainHead(project, [], false)}
const connection = await connectTo({ name, service, nsmgr, identity, log, signal });
log.info("connected", { interface: connection.interfaceName, addresses: connection.context.ip_context?.src_ip_addrs });
for await (const change of connection.changes) log.info(change.kind, { endpoint: change.connection.network_service_endpoint_name });
identity?.close();
`.replace('from "@weft/sdk";\n', 'from "@weft/sdk";\nimport { connectTo } from "./client.js";\n'),
    "src/client.ts": client,
    "src/main.test.ts": test(project),
  };
}

const client = `/** What this client asks for. The connection is kept and healed by the SDK; it ends with the signal. */
import { type ClientConnection, type Identity, type Log, connect } from "@weft/sdk";

export interface Surroundings {
  readonly name: string;
  readonly service: string;
  readonly nsmgr: string;
  readonly identity: Identity | undefined;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** False where no packets can flow, as in tests. Default true. */
  readonly probe?: boolean;
}

export function connectTo({ name, service, nsmgr, identity, log, signal, probe = true }: Surroundings): Promise<ClientConnection> {
  return connect({
    url: \`kernel://\${service}/nsm-1\`,
    name,
    nsmgr,
    identity,
    log,
    signal,
    ...(probe ? {} : { liveness: false as const }),
  });
}
`;

function test({ service }: Project): string {
  return `/** A whole mesh in this process, without root: what is negotiated is real, packets are not sent. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createLog } from "@weft/sdk";
import { startDomain } from "@weft/testing";
import { connectTo } from "./client.js";

test("it is connected, and again after its endpoint has gone", async (t) => {
  const domain = await startDomain();
  t.after(() => domain.stop());
  const [node] = domain.nodes;
  const stop = new AbortController();
  const { signal } = stop;
  const log = createLog({ name: "test", level: "error" });
  const first = await node.serve({ name: "one", services: ["${service}"], cidrs: ["172.20.1.0/24"], signal });
  const surroundings = { name: "client-1", service: "${service}", nsmgr: node.url, identity: undefined, log, signal };
  const connection = await connectTo({ ...surroundings, probe: false });
  t.after(() => connection.close());
  assert.deepEqual(connection.context.ip_context?.src_ip_addrs, ["172.20.1.1/32"]);

  const changes: string[] = [];
  const moved = (async () => {
    for await (const change of connection.changes) {
      changes.push(change.kind);
      if (change.connection.network_service_endpoint_name.startsWith("two")) return;
    }
    assert.fail(\`the connection ended: \${changes.join(", ")}\`);
  })();
  await node.serve({ name: "two", services: ["${service}"], cidrs: ["172.20.2.0/24"], signal });
  await first.close();
  await moved;
  assert.deepEqual(connection.context.ip_context?.src_ip_addrs, ["172.20.2.1/32"]);
});
`;
}

function readme({ name, service }: Project): string {
  return `# ${name}

A client of the network service \`${service}\`.

\`\`\`sh
npm install
npm test                                          # a mesh in one process, no root
npm run build
weft up                                           # a mesh of two nodes on this machine (root)
weft serve ${service} --node node-2 -d            # somebody to connect to
weft run ${name} --node node-1 -d -- npm start --silent
weft get connections
weft down
\`\`\`

\`src/client.ts\` says what it asks for. \`Dockerfile\` and \`chart/\` put it on a cluster:
\`helm install ${name} chart --set image=REGISTRY/${name}:0.1.0\`.
`;
}
