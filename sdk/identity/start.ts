/** The identity that the settings of a component ask for, ready for its servers and clients. */
import { systemClock } from "../clock.js";
import { chooseIdentity, type IdentityChoice, type IdentitySettings } from "../config/identity.js";
import { Code, statusError } from "../status.js";
import { type Identity, identityOver } from "./identity.js";
import type { IdentitySource, SourceOptions } from "./source.js";

const defaultTokenLifetimeMs = 10 * 60_000;

/**
 * Waits until there is an identity. Who started it closes it.
 * @returns undefined with --insecure
 * @throws INVALID_ARGUMENT the settings exclude each other or are not enough; as the source says; the reason of `signal`
 */
export async function startIdentity(
  settings: IdentitySettings & { readonly maxTokenLifetimeMs?: number | undefined },
  options: SourceOptions,
): Promise<Identity | undefined> {
  const choice = chooseIdentity(settings);
  if (typeof choice === "string") throw statusError(Code.INVALID_ARGUMENT, choice);
  if (choice.kind === "insecure") return undefined;
  const source = await openSource(choice, options);
  const maxTokenLifetimeMs = settings.maxTokenLifetimeMs ?? defaultTokenLifetimeMs;
  return identityOver(source, { clock: systemClock, maxTokenLifetimeMs });
}

/** Only what is asked for is loaded: grpc-js alone takes ten megabytes. */
async function openSource(
  choice: Exclude<IdentityChoice, { kind: "insecure" }>,
  options: SourceOptions,
): Promise<IdentitySource> {
  switch (choice.kind) {
    case "workload-api":
      return (await import("./workload-api-client.js")).identityFromWorkloadApi(choice.url, options);
    case "files":
      return (await import("./files.js")).identityFromFiles(choice, options);
    case "ca":
      return (await import("./ca-client.js")).identityFromCa(choice, options);
  }
}
