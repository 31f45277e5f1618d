/** Writes so many endpoints into the store of a registry that is not running: fill-store.ts FOLDER COUNT. */
import { openLmdbStores } from "../../registry/store/lmdb.js";
import { silentLog } from "../../sdk/telemetry/log.js";
import { timestampOf } from "../../sdk/timestamp.js";
import { entry } from "../registry-entries.js";

/** Written together. */
const batch = 2_000;
const [, , dir = "", count = ""] = process.argv;

const stores = openLmdbStores({ dir, log: silentLog });
const firstMs = Date.now() - Number(count);
for (let start = 0; start < Number(count); start += batch) {
  const some = Array.from({ length: Math.min(batch, Number(count) - start) }, (_, i) => ({
    ...entry(start + i),
    expiration_time: timestampOf(Date.now() + 3_600_000),
    initial_registration_time: timestampOf(firstMs + start + i),
  }));
  await Promise.all(some.map((one) => stores.endpoints.replace(one.name, undefined, one)));
}
await stores.close();
