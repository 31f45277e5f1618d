// The code under simulation is the shipped code, but for the border to the kernel, which is modelled, and for one planted
// mistake when WEFT_MUTANT names it.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const border = new Set(
  ["/sdk/linux/netns.ts", "/sdk/linux/find-netns.ts"].map((path) => new URL(`../..${path}`, import.meta.url).href),
);
const model = new URL("model-netns.ts", import.meta.url).href;
let mutant;

export function initialize({ mutant: name }) {
  if (name === "") return;
  const all = JSON.parse(readFileSync(new URL("mutants.json", import.meta.url), "utf8"));
  mutant = all.find((one) => one.name === name);
  if (mutant === undefined) throw new Error(`no mutant "${name}"`);
  mutant.url = new URL(`../../${mutant.file}`, import.meta.url).href;
}

export async function resolve(specifier, context, next) {
  const found = await next(specifier, context);
  return border.has(found.url.split("?")[0]) ? { ...found, url: model } : found;
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
