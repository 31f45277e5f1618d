/**
 * The networks of the cluster as the file that the node's manager reads (WEFT_EXCLUDED_PREFIXES_FILE; upstream's
 * exclude-prefixes-k8s writes the same): one YAML list `prefixes`. The file is replaced as a whole.
 */
import { mkdir, rename, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { stringify } from "yaml";
import { followNetworks, type Networks, type NetworksOptions } from "../../sdk/kubernetes/follow-networks.js";

/** @param path  empty = nothing is looked for nor written */
export async function writeNetworks(
  path: string,
  options: Omit<NetworksOptions, "onChange"> & { readonly extra: readonly string[] },
): Promise<Pick<Networks, "stop">> {
  if (path === "") return { stop: async () => {} };
  const { log, extra } = options;
  let writing = Promise.resolve();
  const write = async (prefixes: readonly string[]): Promise<void> => {
    try {
      await mkdir(dirname(path), { recursive: true });
      const beside = `${path}.${process.pid}`;
      await writeFile(beside, stringify({ prefixes: [...new Set([...prefixes, ...extra])] }));
      await rename(beside, path);
    } catch (error) {
      log.error("the excluded prefixes cannot be written: endpoints may hand out addresses of the cluster", { path, error });
    }
  };
  const networks = await followNetworks({
    ...options,
    onChange: (prefixes) => {
      writing = writing.then(() => write(prefixes));
    },
  });
  return {
    async stop() {
      await networks.stop();
      await writing;
    },
  };
}
