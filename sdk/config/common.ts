/** Settings that every component has, with upstream's names. Spread into the component's own table. */
import { chooseIdentity, type IdentitySettings, identitySettings } from "./identity.js";
import { address, boolean, durationMs, oneOf, optional, text } from "./kinds.js";
import { setting } from "./table.js";

/** What a component tells of itself. */
export const telemetrySettings = {
  logLevel: setting("NSM_LOG_LEVEL", oneOf("trace", "debug", "info", "warn", "error"), "SIGUSR1 sets trace, SIGUSR2 sets this", {
    default: "info",
  }),
  telemetry: setting("TELEMETRY", boolean, "send traces and metrics to the OpenTelemetry collector", { default: "false" }),
  openTelemetryEndpoint: setting("NSM_OPEN_TELEMETRY_ENDPOINT", text, "collector's OTLP/gRPC address, host:port", {
    default: "otel-collector.observability.svc.cluster.local:4317",
  }),
  metricsExportIntervalMs: setting("NSM_METRICS_EXPORT_INTERVAL", durationMs, "how often metrics go to the collector", {
    default: "10s",
  }),
  prometheus: setting("PROMETHEUS", boolean, "serve metrics for a Prometheus scrape", { default: "false" }),
  prometheusListenOn: setting("PROMETHEUS_LISTEN_ON", text, "where /metrics is served", { default: ":8081" }),
  healthListenOn: setting(
    "WEFT_HEALTH_LISTEN_ON",
    optional(address),
    "where /livez and /readyz are served over HTTP, for probes; default: nowhere",
    { default: "" },
  ),
} as const;

export const commonSettings = {
  insecure: setting("WEFT_INSECURE", boolean, "run without an identity: peers are not authenticated, tokens not demanded", {
    default: "false",
  }),
  ...identitySettings,
  ...telemetrySettings,
} as const;

/** The state directory's setting, for components that keep state. */
export const stateSettings = {
  stateDir: setting(
    "WEFT_STATE_DIR",
    optional(text),
    "where state is kept; default /var/lib/weft/NAME, else $XDG_STATE_HOME/weft/NAME",
    {
      default: "",
    },
  ),
} as const;

/**
 * Whether a component may start as it is configured: with exactly one identity, or with --insecure.
 * @returns the text that says why not, with the remedy; undefined = it may
 */
export function refuseWithoutIdentity(command: string, values: IdentitySettings): string | undefined {
  const choice = chooseIdentity(values);
  return typeof choice === "string" ? `${command}: ${choice}\n` : undefined;
}

/** The warning that an insecure component logs at start. */
export const insecureWarning = "running with --insecure: peers are not authenticated and tokens are not demanded";
