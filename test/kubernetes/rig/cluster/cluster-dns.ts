/**
 * Names of services in the test cluster: A records of SERVICE.NAMESPACE.svc.cluster.local (Kubernetes documentation, "DNS
 * for Services and Pods"), headless ones by their endpoints, from a watch of the API server. Stands where CoreDNS stands
 * in a real cluster, and knows no other name.
 */
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import type { KubernetesApi } from "../../../../sdk/kubernetes/api.js";
import { type ListWatch, listWatch } from "../../../../sdk/kubernetes/list-watch.js";
import { type KubernetesObject, type Resource, services } from "../../../../sdk/kubernetes/resource.js";
import { silentLog } from "../../../../sdk/telemetry/log.js";

const domain = "cluster.local";
const typeA = 1;
const notThere = 3;
const refused = 5;

const slices: Resource = { group: "discovery.k8s.io", version: "v1", plural: "endpointslices", kind: "EndpointSlice" };

interface Service extends KubernetesObject {
  readonly spec: { readonly clusterIP?: string };
}
interface Slice extends KubernetesObject {
  readonly endpoints?: readonly { readonly addresses: readonly string[]; readonly conditions?: { readonly ready?: boolean } }[];
}

export async function startClusterDns(api: KubernetesApi, address: string): Promise<{ stop(): Promise<void> }> {
  const known = listWatch<Service>({ api, resource: services, log: silentLog });
  const endpoints = listWatch<Slice>({ api, resource: slices, log: silentLog });
  const socket: Socket = createSocket("udp4");
  socket.on("message", (query, from) => {
    const answer = answerTo(query, (name) => addressesOf(name, known, endpoints));
    if (answer !== undefined) socket.send(answer, from.port, from.address);
  });
  socket.bind(53, address);
  await once(socket, "listening");
  return {
    async stop() {
      socket.close();
      await Promise.all([known.stop(), endpoints.stop()]);
    },
  };
}

/** Undefined = there is no such name; "elsewhere" = not of this cluster. */
function addressesOf(name: string, known: ListWatch<Service>, endpoints: ListWatch<Slice>): string[] | "elsewhere" | undefined {
  if (name !== domain && !name.endsWith(`.${domain}`)) return "elsewhere";
  const [service = "", namespace = "", kind, ...rest] = name.split(".");
  if (kind !== "svc" || rest.join(".") !== domain) return undefined;
  const clusterIp = known.objects.get(`${namespace}/${service}`)?.spec.clusterIP;
  if (clusterIp === undefined) return undefined;
  if (clusterIp !== "None") return [clusterIp];
  const own = [...endpoints.objects.values()].filter(
    ({ metadata }) => metadata.namespace === namespace && metadata.labels?.["kubernetes.io/service-name"] === service,
  );
  return own.flatMap((slice) =>
    (slice.endpoints ?? []).filter(({ conditions }) => conditions?.ready !== false).flatMap((one) => one.addresses),
  );
}

/** RFC 1035, one question. */
function answerTo(query: Buffer, addresses: (name: string) => string[] | "elsewhere" | undefined): Buffer | undefined {
  if (query.length < 17 || query.readUInt16BE(4) !== 1) return undefined;
  const labels: string[] = [];
  let at = 12;
  for (let length = query[at] ?? 0; length !== 0; length = query[at] ?? 0) {
    if (length > 63 || at + length + 5 > query.length) return undefined;
    labels.push(query.toString("latin1", at + 1, at + 1 + length));
    at += length + 1;
  }
  const type = query.readUInt16BE(at + 1);
  const found = addresses(labels.join(".").toLowerCase());
  const ips = Array.isArray(found) && type === typeA ? found.filter((ip) => /^[\d.]+$/.test(ip)) : [];
  const header = Buffer.alloc(12);
  header.writeUInt16BE(query.readUInt16BE(0), 0);
  const code = found === "elsewhere" ? refused : found === undefined ? notThere : 0;
  // response, authoritative, recursion as asked and available
  header.writeUInt16BE(0x8480 | (query.readUInt16BE(2) & 0x0100) | code, 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(ips.length, 6);
  const records = ips.map((ip) => {
    const record = Buffer.from([0xc0, 12, 0, typeA, 0, 1, 0, 0, 0, 5, 0, 4, 0, 0, 0, 0]);
    for (const [i, byte] of ip.split(".").entries()) record[12 + i] = Number(byte);
    return record;
  });
  return Buffer.concat([header, query.subarray(12, at + 5), ...records]);
}
