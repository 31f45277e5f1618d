/**
 * One kind of entries on custom resources. The table follows a list-watch; a write goes to the API server with the
 * resource version it is based on, so that of two replicas one wins, and is in the table when it is acknowledged.
 *
 * Leases: an object that somebody else wrote has a whole lease from the moment it is seen. So clocks that differ between
 * nodes end no lease early, nor does an outage of the API server or of this registry, during which nobody could refresh.
 * While the API server is away a mere refresh is kept in memory; other writes are refused with UNAVAILABLE.
 */
import type { Clock } from "../../../sdk/clock.js";
import type { KubernetesApi } from "../../../sdk/kubernetes/api.js";
import { isApiError } from "../../../sdk/kubernetes/api-error.js";
import { type ListWatch, type ListWatchState, listWatch, type Timing } from "../../../sdk/kubernetes/list-watch.js";
import { apiVersionOf, type KubernetesObject, pathOf } from "../../../sdk/kubernetes/resource.js";
import { Code, statusError } from "../../../sdk/status.js";
import type { Log } from "../../../sdk/telemetry/log.js";
import type { Entry } from "../../kind.js";
import { isOver, withWholeLease } from "../lease-of-others.js";
import { overtaken } from "../memory.js";
import type { Store } from "../store.js";
import { createTable } from "../table.js";
import { createNames, type Names, type Standing } from "./names.js";
import { messageAnnotation, type ObjectKind, objectNameOf, type ReadObject, readObject, writeObject } from "./object.js";

export interface ObjectStoreOptions {
  readonly api: KubernetesApi;
  /** Where new objects go. */
  readonly namespace: string;
  /** Only objects of this namespace count; undefined = of all. */
  readonly onlyNamespace: string | undefined;
  readonly leasePeriodMs: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly timing?: Partial<Timing> | undefined;
  readonly onState?: ((state: ListWatchState) => void) | undefined;
}

export interface ObjectStore<T extends Entry> extends Store<T> {
  readonly names: Names<T>;
  readonly watch: ListWatch<ReadObject<T>>;
  /** Is told of each object that came, changed or went, and of those of the same name, after the table has followed. */
  onObject(listener: (object: ReadObject<T>) => void): void;
  close(): Promise<void>;
}

/** A write that takes longer is refused; what it did is found out by the watch. */
const writeTimeoutMs = 5_000;

export function openObjectStore<T extends Entry>(objects: ObjectKind<T>, options: ObjectStoreOptions): ObjectStore<T> {
  const { api, clock, leasePeriodMs } = options;
  const { kind, resource } = objects;
  const table = createTable(kind);
  const names = createNames<T>(options.namespace);
  const listeners: ((object: ReadObject<T>) => void)[] = [];
  /** What the table holds for a name was read from this state of this object. */
  const shown = new Map<string, string>();
  let wasLive = false;
  let closed = false;

  /** What we have written and not yet seen. */
  const own = new Map<string, { readonly state: string; readonly entry: T }>();

  /** Makes the table show the object that counts for a name. */
  function follow(name: string): void {
    const standing = names.winner(name);
    if (standing?.entry === undefined) {
      shown.delete(name);
      if (table.get(name) !== undefined) table.remove(name);
      return;
    }
    const state = stateOf(standing);
    if (shown.get(name) === state) return;
    shown.set(name, state);
    const written = own.get(name);
    table.put(written?.state === state ? written.entry : withWholeLease(standing.entry, clock.nowMs() + leasePeriodMs));
  }

  function onState(state: ListWatchState): void {
    if (state.live && !wasLive) for (const { entry } of table.places()) extend(entry);
    wasLive = state.live;
    options.onState?.(state);
  }

  function extend(entry: T | undefined): void {
    if (entry === undefined) return;
    const extended = withWholeLease(entry, clock.nowMs() + leasePeriodMs);
    if (extended !== entry) table.put(extended);
  }

  const watch = listWatch<ReadObject<T>>({
    api,
    resource,
    namespace: options.onlyNamespace,
    log: options.log,
    trim: (object) => readObject(object, objects),
    onChange({ previous, next }) {
      const object = next ?? previous;
      const told = new Set(object === undefined ? [] : [object]);
      for (const name of names.change(previous, next)) {
        follow(name);
        for (const other of names.all(name)) told.add(other.object);
      }
      for (const one of told) for (const listener of listeners) listener(one);
    },
    onState,
    ...(options.timing && { timing: options.timing }),
  });

  /** What we have written stands in the table as we were asked to write it, with its own lease. */
  function learnOwn(answer: KubernetesObject, entry: T): void {
    const state = stateOf({ entry: undefined, object: { ...readObject(answer, objects), entry: undefined } });
    own.set(entry.name, { state, entry });
    watch.learn(answer);
    own.delete(entry.name);
    // the watch was faster, and has taken it for somebody else's
    const seen = table.get(entry.name);
    if (seen === undefined || shown.get(entry.name) !== state) return;
    if (!Buffer.from(kind.encode(seen)).equals(kind.encode(entry))) table.put(entry);
  }

  async function create(entry: T, objectName: string): Promise<void> {
    const { spec, message } = writeObject(entry, objects);
    const body = {
      apiVersion: apiVersionOf(resource),
      kind: resource.kind,
      metadata: { name: objectName, ...(message !== undefined && { annotations: { [messageAnnotation]: message } }) },
      spec,
    };
    const { namespace } = options;
    const path = pathOf(resource, { namespace });
    try {
      learnOwn(await api.call<KubernetesObject>({ method: "POST", path, body, timeoutMs: writeTimeoutMs }), entry);
    } catch (error) {
      if (!isApiError(error) || error.reason !== "AlreadyExists") throw error;
      const existing = await api.call<KubernetesObject>({ path: pathOf(resource, { namespace, name: objectName }) });
      watch.learn(existing);
      const standing = names.byKey(`${namespace}/${objectName}`);
      // nonsense that nobody could read gives way
      if (standing?.entry === undefined) await update(readObject(existing, objects), entry);
      else if (standing.entry.name !== entry.name && objectName === objectNameOf(entry.name)) {
        // somebody gave that object another name in the mesh
        await create(entry, objectNameOf(`${entry.name}/`));
      } else throw overtaken(kind.noun, entry.name);
    }
  }

  async function update({ metadata }: ReadObject<T>, entry: T): Promise<void> {
    const { spec, message } = writeObject(entry, objects);
    const annotation = `/metadata/annotations/${messageAnnotation.replace("/", "~1")}`;
    const body = [
      // makes the server refuse it with a conflict when the object has changed
      { op: "replace", path: "/metadata/resourceVersion", value: metadata.resourceVersion },
      { op: "add", path: "/spec", value: spec },
      ...(message === undefined
        ? []
        : metadata.hasAnnotations
          ? [{ op: "add", path: annotation, value: message }]
          : [{ op: "add", path: "/metadata/annotations", value: { [messageAnnotation]: message } }]),
    ];
    const path = pathOf(resource, at(metadata));
    learnOwn(await api.call<KubernetesObject>({ method: "PATCH", patch: "json", path, body, timeoutMs: writeTimeoutMs }), entry);
  }

  async function remove({ object }: Standing<T>): Promise<void> {
    const { uid, resourceVersion } = object.metadata;
    const body = { preconditions: { uid, resourceVersion } };
    await api.call({ method: "DELETE", path: pathOf(resource, at(object.metadata)), body, timeoutMs: writeTimeoutMs });
    watch.forget(object);
  }

  /** The object is not what we took it for: looks, so that the next try is based on what is there. */
  async function lookAgain(object: ReadObject<T>): Promise<void> {
    try {
      watch.learn(await api.call<KubernetesObject>({ path: pathOf(resource, at(object.metadata)) }));
    } catch (error) {
      if (isApiError(error) && error.httpStatus === 404) watch.forget(object);
      else throw error;
    }
  }

  async function write(name: string, expected: T | undefined, next: T | undefined): Promise<void> {
    const standing = names.winner(name);
    if (expected === undefined || standing === undefined) {
      if (next !== undefined) await create(next, objectNameOf(name));
      return;
    }
    try {
      if (next === undefined) await remove(standing);
      else await update(standing.object, next);
    } catch (error) {
      if (!isApiError(error) || ![404, 409, 422].includes(error.httpStatus)) throw error;
      if (error.httpStatus === 422 && error.reason === "Invalid") throw error;
      await lookAgain(standing.object);
      throw overtaken(kind.noun, name);
    }
  }

  return {
    table,
    names,
    watch,
    onObject: (listener) => listeners.push(listener),
    async replace(name, expected, next) {
      if (closed) throw statusError(Code.UNAVAILABLE, "the registry is stopping: try again at once");
      if (table.get(name) !== expected) throw overtaken(kind.noun, name);
      const refreshed = next !== undefined && expected !== undefined ? refreshOnly(expected, next) : undefined;
      if (refreshed !== undefined && !watch.state.live) {
        table.put(refreshed);
        return;
      }
      if (next === undefined && expected !== undefined && !watch.state.live && isOver(expected, clock.nowMs())) {
        throw statusError(Code.UNAVAILABLE, `${kind.noun} ${name} is kept while the Kubernetes API cannot be watched`);
      }
      try {
        await write(name, expected, next);
      } catch (error) {
        if (refreshed === undefined || !isApiError(error) || error.code !== Code.UNAVAILABLE) throw error;
        if (table.get(name) !== expected) throw overtaken(kind.noun, name);
        table.put(refreshed);
      }
    },
    async close() {
      closed = true;
      await watch.stop();
    },
  };

  function refreshOnly(expected: T, next: T): T | undefined {
    const kept = kind.compact(next, expected);
    return kind.onlyLeaseDiffers(expected, kept) ? kept : undefined;
  }
}

/** Equal as long as the spec is; the generation does not move when a status is written. */
function stateOf<T extends Entry>({ object, entry }: Standing<T>): string {
  const { uid, generation, resourceVersion } = object.metadata;
  return `${uid}/${entry === object.entry ? (generation ?? resourceVersion) : "before"}`;
}

function at({ namespace, name }: KubernetesObject["metadata"]): { namespace?: string; name: string } {
  return namespace === undefined ? { name } : { namespace, name };
}
