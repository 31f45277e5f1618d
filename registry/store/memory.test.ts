import { storeCompliance } from "./compliance.js";
import { createMemoryStores } from "./memory.js";

storeCompliance("memory", async () => {
  const stores = createMemoryStores();
  return { stores, end: () => stores.close() };
});
