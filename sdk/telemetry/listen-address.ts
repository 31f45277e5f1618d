/** Addresses of the HTTP servers of a component: ":8081", "host:port" or "tcp://host:port". */
import { Code, statusError } from "../status.js";

/** @throws INVALID_ARGUMENT with the name of the setting */
export function splitHostPort(setting: string, listenOn: string): { host: string; port: number } {
  const found = /^(?:tcp:\/\/|https?:\/\/)?(\[[^\]]*\]|[^:/]*):(\d{1,5})$/.exec(listenOn.trim());
  const port = Number(found?.[2] ?? Number.NaN);
  if (!(port >= 0 && port <= 65535)) {
    throw statusError(Code.INVALID_ARGUMENT, `${setting}: "${listenOn}" is not an address; write :8081 or host:port`);
  }
  return { host: (found?.[1] ?? "").replace(/^\[|\]$/g, ""), port };
}
