// The code under simulation is the shipped code, but for the border to the kernel, which is modelled, and for one planted
// mistake when WEFT_MUTANT names it.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const file = (path) => new URL(`../../${path}`, import.meta.url).href;
const border = new Map([
  [file("sdk/linux/netns.ts"), file("test/simulation/model-netns.ts")],
  [file("sdk/linux/find-netns.ts"), file("test/simulation/model-netns.ts")],
  [file("sdk/config/follow-file.ts"), file("test/simulation/model-follow-file.ts")],
]);
let mutant;

export function initialize({ mutant: name }) {
  if (name === "") return;
  const all = JSON.parse(readFileSync(new URL("mutants.json", import.meta.url), "utf8"));
  mutant = all.find((one) => one.name === name);
  if (mutant === undefined) throw new Error(`no mutant "${name}"`);
  mutant.url = file(mutant.file);
}

export async function resolve(specifier, context, next) {
  const found = await next(specifier, context);
  const url = border.get(found.url.split("?")[0]);
  return url === undefined ? found : { ...found, url };
}

export async function load(url, context, next) {
  const loaded = await next(url, context);
  if (mutant === undefined || url.split("?")[0] !== mutant.url) return loaded;
  const source =
    loaded.source === undefined || loaded.source === null ? readFileSync(fileURLToPath(url), "utf8") : String(loaded.source);
  if (source.split(mutant.from).length !== 2)
    throw new Error(`mutant ${mutant.name}: "${mutant.from}" is not once in ${mutant.file}`);
  return { ...loaded, source: source.replace(mutant.from, () => mutant.to) };
}
