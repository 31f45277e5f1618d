// Loaded into a process under `weft chaos` (node --import): its wall clock shows more or less than the machine's, by the
// milliseconds in the file WEFT_CHAOS_CLOCKS/NSM_NAME, from the moment the file changes. Timers run on as they did, as when
// somebody sets a machine's clock. Without WEFT_CHAOS_CLOCKS it does nothing.
import { readFileSync } from "node:fs";
import { join } from "node:path";

const { WEFT_CHAOS_CLOCKS: folder, NSM_NAME: name } = process.env;
if (folder !== undefined && name !== undefined) {
  const machineNow = Date.now.bind(Date);
  const file = join(folder, name);
  let offsetMs = 0;
  const look = () => {
    try {
      offsetMs = Number(readFileSync(file, "utf8")) || 0;
    } catch {
      offsetMs = 0;
    }
  };
  look();
  setInterval(look, 100).unref();
  Date.now = () => machineNow() + offsetMs;
}
