/** Settings of the data plane vpp (docs/vpp.md). */
import { integer, optional, text } from "../sdk/config/kinds.js";
import { setting, type Values } from "../sdk/config/table.js";

export const vppSettings = {
  vpp: setting("WEFT_VPP", text, "program of VPP for --dataplane vpp; it is started in the forwarder's network namespace", {
    default: "vpp",
  }),
  vppApiSocket: setting(
    "WEFT_VPP_API_SOCKET",
    optional(text),
    "API socket of a VPP that somebody else runs: no other is started, and only what is ours in it is touched",
    { default: "" },
  ),
  vppApiFiles: setting(
    "WEFT_VPP_API_FILES",
    optional(text),
    "folder with the .api.json files of the VPP in use; default: beside the program, then /usr/share/vpp/api",
    { default: "" },
  ),
  vppHeapMebibytes: setting("WEFT_VPP_HEAP_MIB", integer({ min: 128, max: 65_536 }), "main heap of a VPP of our own, in MiB", {
    default: "256",
  }),
} as const;

export type VppConfig = Values<typeof vppSettings>;
