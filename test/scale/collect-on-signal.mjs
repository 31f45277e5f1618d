// Loaded into a component by its test (--import): SIGHUP collects all garbage.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc");
process.on("SIGHUP", () => {
  collect();
  collect();
});
