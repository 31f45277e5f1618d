/** The identity that the settings of a component ask for, ready for its servers and clients. */
import { systemClock } from "../clock.js";
import { chooseIdentity, type IdentityChoice, type IdentitySettings } from "../config/identity.js";
import { Code, statusError } from "../status.js";
import { identityFromCa } from "./ca-client.js";
import { identityFromFiles } from "./files.js";
import { type Identity, identityOver } from "./identity.js";
import type { IdentitySource, SourceOptions } from "./source.js";
import { identityFromWorkloadApi } from "./workload-api-client.js";

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

function openSource(choice: Exclude<IdentityChoice, { kind: "insecure" }>, options: SourceOptions): Promise<IdentitySource> {
  switch (choice.kind) {
    case "workload-api":
      return identityFromWorkloadApi(choice.url, options);
    case "files":
      return identityFromFiles(choice, options);
    case "ca":
      return identityFromCa(choice, options);
  }
}
