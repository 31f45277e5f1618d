/** Whether a real VPP is on this machine for the tests: WEFT_VPP names its program, else `vpp` from PATH. */
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";

export interface RealVpp {
  readonly program: string;
  /** Why tests of the real VPP do not run here; false = they do. */
  readonly skip: string | false;
}

export function findRealVpp({ WEFT_VPP: named, PATH: path = "" }: Readonly<Record<string, string | undefined>>): RealVpp {
  if (named !== undefined && named !== "")
    return { program: named, skip: existsSync(named) ? false : `WEFT_VPP=${named} does not exist` };
  const found = path
    .split(delimiter)
    .map((folder) => join(folder, "vpp"))
    .find((candidate) => existsSync(candidate));
  const missing = "VPP is not on this machine: put `vpp` into PATH, or its path into WEFT_VPP (docs/vpp.md says where to get it)";
  return found === undefined ? { program: "vpp", skip: missing } : { program: found, skip: false };
}
