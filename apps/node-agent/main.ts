/**
 * The agent of a node (`weft node-agent`): connects the pods of its node whose annotation says mode `node`, so that they
 * carry no container of ours, and tells for all annotated pods what they have.
 */
import { connect } from "../../sdk/client/connect.js";
import type { Connection } from "../../sdk/gen/connection.js";
import { ConnectionContext } from "../../sdk/gen/connectioncontext.js";
import { createKubernetesApi } from "../../sdk/kubernetes/api.js";
import { findApiConnection } from "../../sdk/kubernetes/connection.js";
import { listWatch } from "../../sdk/kubernetes/list-watch.js";
import { createEventReporter } from "../../sdk/kubernetes/report-event.js";
import { type KubernetesObject, keyOf, pods } from "../../sdk/kubernetes/resource.js";
import { createDialer } from "../../sdk/transport/dial.js";
import { excludedFor } from "../client/excluded-prefixes.js";
import { type RunOptions, runWorkload } from "../run-workload.js";
import { nodeAgentSettings } from "./config.js";
import { createPodFinder } from "./find-pod.js";
import { followManager } from "./follow-manager.js";
import { type HeldPod, type HoldPodOptions, holdPod } from "./hold-pod.js";
import { createPodBook } from "./pod-book.js";
import { servePodNames } from "./pod-names.js";
import { watchClock } from "./watch-clock.js";
import { clientNameOf, connectionId } from "./wish.js";
import { writeNetworks } from "./write-networks.js";

const command = { name: "weft node-agent", summary: "Connects the pods of its node, so that they need no container for it." };
const dialTimeoutMs = 5_000;
/** How long a service may keep the others of its pod waiting. */
const turnMs = 2_000;

/** The command `weft node-agent`; the result is its exit code. */
export function run(options: RunOptions): Promise<number> {
  return runWorkload(command, nodeAgentSettings, options, async (values, { log, observer, identity }, signal) => {
    const api = createKubernetesApi(await findApiConnection({ env: options.env, kubeconfig: values.kubeconfig }), {
      userAgent: "weft-agent",
    });
    const dialer = createDialer({ identity, dialTimeoutMs, log });
    const stopping = new AbortController();
    const shown = new Map<string, Connection>();
    const connectOne: HoldPodOptions["connect"] = async ({ wish, key, service, netnsUrl, others, patient, signal }) => {
      const granted = others.map((other) => ({
        service: { ...service, networkService: other.connection.network_service },
        get context() {
          return other.context;
        },
      }));
      return connect({
        url: service,
        id: connectionId(wish.uid, key),
        name: clientNameOf(wish.name, wish.namespace),
        nsmgr: values.connectTo,
        workload: { nodeName: values.nodeName, podName: wish.name, clusterName: values.clusterName },
        context: ConnectionContext.fromPartial({ ip_context: { excluded_prefixes: excludedFor(service, granted, []) } }),
        netnsUrl,
        requestTimeoutMs: values.requestTimeoutMs,
        connectTimeoutMs: patient ? values.patienceMs : Math.min(turnMs, values.patienceMs),
        maxTokenLifetimeMs: values.maxTokenLifetimeMs,
        livenessIntervalMs: values.livenessCheckIntervalMs,
        livenessTimeoutMs: values.livenessCheckTimeoutMs,
        identity,
        log: log.child({ pod: `${wish.namespace}/${wish.name}`, service: service.networkService }),
        observer,
        signal,
      });
    };
    const finder = createPodFinder();
    const reportEvent = createEventReporter({ api, component: "weft-agent", instance: values.nodeName, log });
    void watchClock({ api, node: values.nodeName, reportEvent, log, signal: stopping.signal });
    let isSynced = false;
    const book = createPodBook({
      annotation: values.annotation,
      node: values.nodeName,
      api,
      log,
      shown,
      reportEvent,
      hold: (wish, onChange): HeldPod => holdPod({ wish, finder, connect: connectOne, onChange, log }),
      names: ({ uid, namespace, name }) =>
        values.localDnsServerEnabled
          ? servePodNames({ uid, finder, log: log.child({ pod: `${namespace}/${name}` }), sweep: !isSynced })
          : undefined,
    });
    const watch = listWatch<KubernetesObject>({
      api,
      resource: pods,
      fieldSelector: `spec.nodeName=${values.nodeName}`,
      log,
      trim,
      onChange: ({ previous, next }) => {
        if (next !== undefined) book.put(next);
        else if (previous !== undefined) book.remove(keyOf(previous));
      },
    });
    const url = values.connectTo;
    void followManager({ dialer, url, shown, onChange: book.clientChanged, log, signal: stopping.signal });
    const networks = await writeNetworks(values.excludedPrefixesFile, {
      api,
      log,
      namespace: values.namespace || api.connection.namespace,
      configMap: values.excludedPrefixesMap,
      extra: values.excludedPrefixes,
    });
    await watch.synced(signal);
    isSynced = true;
    log.info("agent is ready", { node: values.nodeName, pods: watch.objects.size });
    return {
      ended: new Promise(() => {}),
      async stop() {
        stopping.abort();
        await Promise.all([watch.stop(), networks.stop()]);
        await book.leave();
        dialer.close();
        api.close();
      },
    };
  });
}

/** Of a pod only what is read here is kept: a node may have hundreds. */
function trim(pod: KubernetesObject): KubernetesObject {
  const { name, namespace, uid, resourceVersion, annotations, deletionTimestamp } = pod.metadata;
  const spec = (pod.spec ?? {}) as { hostNetwork?: boolean; readinessGates?: unknown };
  const status = (pod.status ?? {}) as { phase?: string; conditions?: readonly { type?: string }[] };
  const conditions = (status.conditions ?? []).filter(({ type }) => type === "Ready");
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name,
      ...(namespace === undefined ? {} : { namespace }),
      ...(uid === undefined ? {} : { uid }),
      ...(resourceVersion === undefined ? {} : { resourceVersion }),
      ...(annotations === undefined ? {} : { annotations }),
      ...(deletionTimestamp === undefined ? {} : { deletionTimestamp }),
    },
    spec: { hostNetwork: spec.hostNetwork, readinessGates: spec.readinessGates },
    status: { phase: status.phase, conditions },
  };
}
