/**
 * @weft/sdk — what a workload needs of the mesh. The only file that re-exports.
 *
 *     const connection = await connect({ url: "kernel://icmp-responder/nsm-1", signal });
 *     const endpoint = await serve({ name: "nse-1", services: ["icmp-responder"], cidrs: ["172.16.1.0/24"], signal });
 */
export { MechanismClass, MechanismType, Payload } from "./api.js";
export type { Change } from "./client/changes.js";
export { type ClientConnection, type ConnectOptions, connect } from "./client/connect.js";
export { echoLiveness, type LivenessCheck, type LivenessOptions } from "./client/liveness.js";
export { type ServedConnection, type ServeOptions, type Serving, serve } from "./endpoint/serve.js";
export type { Connection } from "./gen/connection.js";
export type { ConnectionContext } from "./gen/connectioncontext.js";
export { type IdentityOptions, identityFromEnvironment } from "./identity/from-environment.js";
export type { Identity } from "./identity/identity.js";
export { parseServiceUrl, parseServiceUrls, type ServiceUrl } from "./mechanisms/service-url.js";
export { type FollowWireOptions, followWire } from "./passthrough/follow-wire.js";
export { type Passthrough, type PassthroughOptions, passthrough, type Wire } from "./passthrough/passthrough.js";
export { Code, isStatusError, type StatusError } from "./status.js";
export { createLog, type Log } from "./telemetry/log.js";
