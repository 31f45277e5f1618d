/** What the chaos suite and its workloads with rings (rings.ts) tell each other. */

/** How a report of a client begins in its log; the rest of the line is a ProbeReport. */
export const ringsReport = "rings ";
/** Of its environment. */
export const ringsVariable = {
  service: "WEFT_RINGS_SERVICE",
  connections: "WEFT_RINGS_CONNECTIONS",
  cidrs: "WEFT_RINGS_CIDRS",
  livenessInterval: "WEFT_RINGS_LIVENESS_INTERVAL_MS",
  livenessTimeout: "WEFT_RINGS_LIVENESS_TIMEOUT_MS",
} as const;
