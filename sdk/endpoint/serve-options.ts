/** What the author of an endpoint says about it. Only `name`, `services`, `cidrs` and `signal` must be there. */
import type { MechanismType, Payload } from "../api.js";
import type { ChainObserver } from "../chain.js";
import type { Clock } from "../clock.js";
import type { DNSConfig, PolicyRoute } from "../gen/connectioncontext.js";
import type { Fact } from "../gen/inspect.js";
import type { Identity } from "../identity/identity.js";
import type { PolicyMasks } from "../policies/settings.js";
import type { Log } from "../telemetry/log.js";
import type { Transport } from "../transport/transport.js";
import type { RouteOption } from "./add-routes.js";
import type { Customize } from "./customize.js";
import type { CidrGroups } from "./ipam/groups.js";
import type { IpamPolicy } from "./ipam/ipam.js";
import type { OnConnection, ServedConnection } from "./tell-owner.js";

/** What the author of an endpoint says about it. Only `name`, `services`, `cidrs` and `signal` must be there. */
export interface ServeOptions {
  /** The endpoint's name in the registry, unique in the domain. */
  readonly name: string;
  /** Network services it offers. */
  readonly services: readonly string[];
  /** Address pools: each connection gets a pair from every group; a string is a group of one pool. Empty = no addresses. */
  readonly cidrs: CidrGroups;
  /** Aborting it is `close()`. */
  readonly signal: AbortSignal;
  /** Prefixes that the client reaches through us. */
  readonly routes?: readonly RouteOption[];
  /** Labels by which a service selects endpoints; the same for each service. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Hears of each new connection; what it throws refuses the connection. */
  readonly onConnection?: OnConnection;
  /** Changes what a client gets: MAC addresses, MTU, neighbours, routes, extra context. */
  readonly customize?: Customize;
  /** The node manager; default unix:///var/lib/networkservicemesh/nsm.io.sock. */
  readonly nsmgr?: string;
  /** Where to listen; default: a unix socket in a folder of its own. The first url is registered. */
  readonly listenOn?: readonly string[];
  /** Default ETHERNET. */
  readonly payload?: Payload;
  /** Default polite. */
  readonly ipamPolicy?: IpamPolicy;
  /** Ends the endpoint when it has had no connection for so long; default 0 = never. */
  readonly idleTimeoutMs?: number;
  /** Enters the services into the registry where they are missing; default true. */
  readonly registerService?: boolean;
  /**
   * Leaves for good at the end: takes itself out of the registry and sends its clients to other endpoints; default true.
   * Else it may be restarted: the entry goes when its lease ends, and clients wait for it to come back.
   */
  readonly unregisterItself?: boolean;
  /**
   * How long it waits at the end for its clients to make their way to another endpoint, in milliseconds: as long as it serves on,
   * they lose nothing. Default 5,000; it ends at once when none is left.
   */
  readonly drainTimeoutMs?: number;
  /** Name servers for the client. */
  readonly dns?: readonly DNSConfig[];
  /** Policy routes for the client; they can be changed later with `setPolicies`. */
  readonly policies?: readonly PolicyRoute[];
  /** Where connections are kept over a restart; absent = not. */
  readonly stateDir?: string;
  /** Network namespace that gets the interfaces, by name or URL; default: our own. */
  readonly netns?: string;
  /** Mechanisms served; default KERNEL and NOOP. */
  readonly mechanisms?: readonly MechanismType[];
  /** Facts shown to operators (`weft describe`). */
  readonly report?: () => Promise<readonly Fact[]>;

  readonly log?: Log;
  readonly observer?: ChainObserver;
  readonly clock?: Clock;
  /** Default: gRPC. */
  readonly transport?: Transport;
  /** How long we vouch for a connection, in milliseconds; default 10 minutes. */
  readonly maxTokenLifetimeMs?: number;
  /** Absent = plain text, and whoever reaches the socket is served; see identityFromEnvironment. */
  readonly identity?: Identity | undefined;
  /** What is demanded of callers when there is an identity; default: upstream's policies. */
  readonly policyMasks?: Partial<PolicyMasks>;
}

/** A running endpoint. */
export interface Serving {
  readonly name: string;
  /** The url that is registered. */
  readonly url: string;
  readonly connections: readonly ServedConnection[];
  /** Other policy routes from now on; every client is asked to refresh, so that it gets them within seconds. */
  setPolicies(policies: readonly PolicyRoute[]): void;
  /** Asks every client to refresh, so that it gets within seconds what `customize` says now. */
  refresh(): void;
  /** Resolves when the endpoint has ended, with why. */
  readonly closed: Promise<"closed" | "idle">;
  /** Ends the endpoint, within seconds. */
  close(): Promise<void>;
}
