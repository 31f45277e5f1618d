/** What keep.ts is given and gives. */
import type { ConnectionApi } from "../api.js";
import type { Handler } from "../chain.js";
import type { Clock } from "../clock.js";
import type { Connection } from "../gen/connection.js";
import type { Log } from "../telemetry/log.js";
import type { Changes } from "./changes.js";
import type { Gate } from "./gate.js";
import type { HealRules } from "./heal-events.js";
import type { LivenessCheck } from "./liveness.js";
import type { Report, Watch } from "./node-manager.js";
import type { Wish } from "./requests.js";
import type { Silence } from "./silence.js";

export interface KeepOptions {
  readonly wish: Wish;
  readonly handler: Handler<ConnectionApi>;
  readonly gate: Gate;
  readonly silence: Silence;
  readonly clock: Clock;
  readonly log: Log;
  readonly changes: Changes;
  /** undefined: ICMP echo where it applies; false: none. */
  readonly liveness: LivenessCheck | false | undefined;
  readonly livenessIntervalMs: number;
  readonly livenessTimeoutMs: number;
  readonly netnsUrl: string | undefined;
  readonly rules: Omit<HealRules, "checked" | "beside">;
  /** Hears of a connection with this id from now on. */
  readonly watch: (id: string) => Watch;
  /** How long the old path stays after a move. */
  readonly lingerMs: number;
  readonly requestTimeoutMs: number;
}

export interface Kept {
  readonly connection: Connection;
  /** What the monitor says about the connection with this id of ours. */
  hear(id: string, report: Report): void;
  /** Gives the connection back. Safe to call again. */
  close(): Promise<void>;
  /** Ends the keeping and leaves the connection as it is, until it expires or another process takes it over. */
  leave(): Promise<void>;
  /** Resolves when it is no longer kept: by `close`, by `leave` or because healing gave up. */
  readonly closed: Promise<void>;
}
