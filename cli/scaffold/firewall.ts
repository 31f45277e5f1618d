/** A new function in the middle of a chain: what the rules do not drop goes over unchanged. */
import { type Files, mainHead, type Project, projectFiles } from "./project.js";

export function firewallFiles(project: Project): Files {
  return {
    ...projectFiles(project, "firewall", ["NET_ADMIN"]),
    "README.md": readme(project),
    "src/main.ts": `${mainHead(project, ["followWire", "passthrough"], true)}
const hop = await passthrough({
  name,
  services: [service],
  labels: { app: "firewall" },
  // joined again whenever one of the two interfaces has been made anew
  onConnection: (wire) =>
    void followWire(wire, {
      signal,
      join: ({ connection, inInterface, outInterface }) => nft(filterScript(connection.id, inInterface, outInterface)),
      onProblem: (error) => log.error("nothing passes", { connection: wire.connection.id, error }),
    }),
  nsmgr,
  identity,
  log,
  signal,
  ...listenOn,
});
log.info("stands in the chain", { service, url: hop.url });
await hop.closed;
identity?.close();
`.replace('from "@weft/sdk";\n', 'from "@weft/sdk";\nimport { filterScript, nft } from "./filter.js";\n'),
    "src/filter.ts": filter,
    "service.yaml": service(project),
    "src/main.test.ts": test(project),
  };
}

const filter = `/** The rules, in nftables: a table for each connection, at the ingress of its two interfaces. */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";

/** What clients may not reach. */
const blockedTcpPorts = [23];

/** Frames go from one interface to the other unless a rule drops them. The id comes from the wire, so it is hashed. */
export function filterScript(connectionId: string, inInterface: string, outInterface: string): string {
  const table = \`fw-\${createHash("sha256").update(connectionId).digest("hex").slice(0, 16)}\`;
  for (const name of [inInterface, outInterface]) {
    if (!/^[A-Za-z0-9_.-]{1,15}$/.test(name)) throw new Error(\`an interface called \${JSON.stringify(name)} cannot be filtered\`);
  }
  const chain = (name: string, device: string) =>
    \`add chain netdev \${table} \${name} { type filter hook ingress device "\${device}" priority 0; policy drop; }\`;
  return [
    \`add table netdev \${table}\`,
    \`delete table netdev \${table}\`,
    \`add table netdev \${table}\`,
    chain("from_client", inInterface),
    chain("from_network", outInterface),
    \`add rule netdev \${table} from_client tcp dport { \${blockedTcpPorts.join(", ")} } counter drop\`,
    \`add rule netdev \${table} from_client fwd to "\${outInterface}"\`,
    \`add rule netdev \${table} from_network fwd to "\${inInterface}"\`,
    "",
  ].join("\\n");
}

export async function nft(script: string): Promise<void> {
  const child = spawn("nft", ["-f", "-"], { stdio: ["pipe", "ignore", "pipe"] });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  child.stdin.on("error", () => {}).end(script);
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new Error(\`nft: \${said.trim() || \`exit code \${code}\`}\`);
}
`;

function test({ service }: Project): string {
  return `/** The rules as text, and the function's place in a chain: a mesh in this process, without root and without packets. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { startDomain } from "@weft/testing";
import { filterScript } from "./filter.js";

test("telnet is dropped, the rest goes over; names that are no interfaces are refused", () => {
  const script = filterScript("id; flush ruleset", "in-1", "out-1");
  assert.match(script, /from_client tcp dport \\{ 23 \\} counter drop/);
  assert.match(script, /from_client fwd to "out-1"/);
  assert.doesNotMatch(script, /flush/);
  assert.throws(() => filterScript("id", 'in" ; flush ruleset', "out-1"));
});

test("a client's path leads through the function to the endpoint", async (t) => {
  const domain = await startDomain();
  t.after(() => domain.stop());
  const [node] = domain.nodes;
  const { signal } = new AbortController();
  await node.serve({ name: "gateway", services: ["${service}"], cidrs: ["172.20.1.0/24"], labels: { app: "gateway" }, signal });
  const connection = await node.connect({ url: "kernel://${service}/nsm-1", signal });
  t.after(() => connection.close());
  assert.deepEqual(connection.context.ip_context?.src_ip_addrs, ["172.20.1.1/32"]);
});
`;
}

function service({ service: name }: Project): string {
  return `# What the firewall asks for is served by the gateway; everybody else gets the firewall.
apiVersion: networkservicemesh.io/v1
kind: NetworkService
metadata:
  name: ${name}
spec:
  payload: ETHERNET
  matches:
    - source_selector: { app: firewall }
      routes:
        - destination_selector: { app: gateway }
    - source_selector: {}
      routes:
        - destination_selector: { app: firewall }
`;
}

function readme({ name, service }: Project): string {
  return `# ${name}

A function in the chain of the network service \`${service}\`: it drops telnet (\`src/filter.ts\`) and passes the rest.

\`\`\`sh
npm install
npm test                                          # no root
npm run build
weft up                                           # a mesh of two nodes on this machine (root)
weft apply service.yaml                           # who follows whom
weft serve ${service} --node node-2 --labels app:gateway -d
weft run ${name} --node node-1 -d -- npm start --silent
weft connect ${service} -d
weft why client                                   # through which functions it goes
weft down
\`\`\`
`;
}
