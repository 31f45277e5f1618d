/** The demo, act by act. Read this first: it says what is built and what is proved. */
import type { ConnectionView } from "../view/connections.js";
import * as proofs from "./proofs.js";
import type { Record } from "./record.js";
import { chainService, localService, pods, secureService } from "./scene.js";
import { encryptedConnection, whyNoEncryption } from "./secure.js";
import { prepareStage, type Stage } from "./stage.js";

const chainProofs = [
  "ping client → responder, IPv4",
  "ping client → responder, IPv6",
  "ping responder → client, IPv4",
  "ping responder → client, IPv6",
  "permitted TCP port",
  "denied TCP port",
  "TCP throughput through the firewall, across the nodes",
  "endpoint killed and healed",
] as const;

/** Everything between `up` and `down`. @returns the connections to draw */
export async function play(stage: Stage, record: Record): Promise<readonly ConnectionView[]> {
  await record.prove("mesh of two nodes", async () => proofs.meshIsUp());
  await prepareStage(stage);
  record.step(
    `services ${chainService.name} (client → firewall → responder), ${localService.name} and ${secureService.name} are registered`,
  );
  await proveEncryption(stage, record);
  const chain = await record.prove("client → firewall → responder across two nodes", () => buildChain(stage, record));
  const local = await record.prove("local connection with IPv4 and IPv6", () => buildLocal(stage, record));
  if (chain === undefined) {
    record.skip(chainProofs, "the chain was not built");
    return local === undefined ? [] : [local];
  }
  await provePackets(stage, record, chain);
  if (local !== undefined) await proveLocalThroughput(stage, record, local);
  const healed = await record.prove<ConnectionView>(chainProofs[7], async () => {
    record.step(`starting ${pods.standIn.name} on ${pods.standIn.node}, then killing ${pods.responder.name}`);
    await stage.startEndpoint(pods.standIn, chainService.name);
    const { view, detail } = await proofs.killedAndHealed(stage);
    return { value: view, detail };
  });
  return [healed ?? chain, ...(local === undefined ? [] : [local])];
}

async function proveEncryption(stage: Stage, record: Record): Promise<void> {
  const name = "payload IP between the nodes is encrypted";
  const why = await whyNoEncryption(stage);
  if (why !== undefined) {
    record.leaveOut(name, why);
    return;
  }
  await record.prove(name, async () => {
    await stage.startEndpoint(pods.secureResponder, secureService.name);
    await stage.start(pods.secureClient);
    const detail = await encryptedConnection(stage, await stage.connected(pods.secureClient));
    await stage.remove(pods.secureClient, { kill: false });
    return detail;
  });
}

async function buildChain(stage: Stage, record: Record): Promise<{ detail: string; value: ConnectionView }> {
  await Promise.all([
    stage.startEndpoint(pods.responder, chainService.name),
    stage.startEndpoint(pods.firewall, chainService.name),
  ]);
  record.step(
    `${pods.responder.name} on ${pods.responder.node} and ${pods.firewall.name} on ${pods.firewall.node} are registered`,
  );
  await stage.start(pods.client);
  const view = await stage.connected(pods.client);
  return { detail: proofs.chainIsBuilt(view), value: view };
}

async function buildLocal(stage: Stage, record: Record): Promise<{ detail: string; value: ConnectionView }> {
  await stage.startEndpoint(pods.localResponder, localService.name);
  record.step(`${pods.localResponder.name} on ${pods.localResponder.node} is registered`);
  await stage.start(pods.localClient);
  const view = await stage.connected(pods.localClient);
  return { detail: await proofs.localConnection(stage, view), value: view };
}

async function provePackets(stage: Stage, record: Record, view: ConnectionView): Promise<void> {
  const near = view.clientAddresses;
  const far = view.endpointAddresses;
  await record.prove(chainProofs[0], () => proofs.pingEnd(stage, pods.client, near, far, 4));
  await record.prove(chainProofs[1], () => proofs.pingEnd(stage, pods.client, near, far, 6));
  await record.prove(chainProofs[2], () => proofs.pingEnd(stage, pods.responder, far, near, 4));
  await record.prove(chainProofs[3], () => proofs.pingEnd(stage, pods.responder, far, near, 6));
  const listener = await proofs.answering(stage, pods.responder);
  try {
    await record.prove(chainProofs[4], () => proofs.permittedTcp(stage, view));
    await record.prove(chainProofs[5], () => proofs.deniedTcp(stage, view));
    await record.prove(chainProofs[6], () => proofs.throughput(stage, pods.client, far, "over the underlay"));
  } finally {
    await listener.stop();
  }
}

async function proveLocalThroughput(stage: Stage, record: Record, view: ConnectionView): Promise<void> {
  const listener = await proofs.answering(stage, pods.localResponder);
  try {
    await record.prove("TCP throughput of the local connection", () =>
      proofs.throughput(stage, pods.localClient, view.endpointAddresses, "inside the node"),
    );
  } finally {
    await listener.stop();
  }
}
