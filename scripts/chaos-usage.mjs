// Loaded into a process under `weft chaos --churn` (node --import): says what the process holds, when the number in the file
// WEFT_CHAOS_USAGE/ask changes, as JSON in WEFT_CHAOS_USAGE/NSM_NAME: what it has on its heap once all garbage is collected, in
// bytes, and how many things keep its event loop busy, by kind. Without WEFT_CHAOS_USAGE it does nothing.
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

const { WEFT_CHAOS_USAGE: folder, NSM_NAME: name } = process.env;
if (folder !== undefined && name !== undefined) {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc");
  setFlagsFromString("--no-expose-gc");
  const asked = () => {
    try {
      return readFileSync(join(folder, "ask"), "utf8");
    } catch {
      return "";
    }
  };
  let answered = asked();
  const look = () => {
    const question = asked();
    if (question === answered || question === "") return;
    answered = question;
    // what finalizers let go of is garbage for the second time only
    collect();
    collect();
    const { heapUsed, external } = process.memoryUsage();
    const handles = {};
    for (const kind of process.getActiveResourcesInfo()) handles[kind] = (handles[kind] ?? 0) + 1;
    const file = join(folder, name);
    writeFileSync(
      `${file}.new`,
      JSON.stringify({ question, pid: process.pid, heapBytes: heapUsed, externalBytes: external, handles }),
    );
    renameSync(`${file}.new`, file);
  };
  setInterval(look, 100).unref();
}
