// Registers the hooks of load-hooks.mjs; comes before tsx, so that tsx sees what they give.
import { register } from "node:module";

register("./load-hooks.mjs", import.meta.url, { data: { mutant: process.env.WEFT_MUTANT ?? "" } });
