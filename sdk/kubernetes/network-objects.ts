/**
 * Which address ranges of a cluster its own objects tell of (pure): networks of pods, of services and of nodes. Every
 * source may be absent, and was perhaps written by hand: what cannot be read is told, and gives nothing.
 */
import { parse } from "yaml";
import { addressBits, formatAddress, inRange, parsePrefix, rangeOf } from "../ip.js";
import type { KubernetesObject } from "./resource.js";

export interface Found {
  readonly prefixes: readonly string[];
  /** What is wrong with the source. */
  readonly problem?: string;
}

/** Pod networks of a node, and the node's own addresses. */
export function prefixesOfNode({ spec, status }: KubernetesObject): Found {
  const { podCIDR, podCIDRs } = objectOf(spec);
  const addresses = listOf(objectOf(status)["addresses"]).map(objectOf);
  const own = addresses
    .filter(({ type }) => type === "InternalIP" || type === "ExternalIP")
    .map(({ address }) => (typeof address === "string" ? hostPrefixOf(address) : undefined));
  return checked([...textsOf(podCIDRs), ...textsOf([podCIDR]), ...own.filter((one) => one !== undefined)]);
}

/** ServiceCIDR objects, since Kubernetes 1.33. */
export function prefixesOfServiceCidr({ spec }: KubernetesObject): Found {
  return checked(textsOf(objectOf(spec)["cidrs"]));
}

/** A Service's own addresses: the last resort where there are no ServiceCIDR objects. */
export function prefixesOfService({ spec }: KubernetesObject): Found {
  const addresses = textsOf(objectOf(spec)["clusterIPs"]).filter((one) => one !== "None" && one !== "");
  return checked(addresses.map((one) => hostPrefixOf(one) ?? one));
}

/** ConfigMap kube-system/kubeadm-config. */
export function prefixesOfKubeadm(map: KubernetesObject): Found {
  return fromYaml(map, "ClusterConfiguration", (config) => {
    const { podSubnet, serviceSubnet } = objectOf(config["networking"]);
    return [podSubnet, serviceSubnet].flatMap(commaList);
  });
}

/** ConfigMap kube-system/kube-proxy. */
export function prefixesOfKubeProxy(map: KubernetesObject): Found {
  return fromYaml(map, "config.conf", (config) => commaList(config["clusterCIDR"]));
}

/** A ConfigMap of the operator's own, as upstream reads it: key excluded_prefixes_input.yaml, one list `prefixes`. */
export function prefixesOfOperator(map: KubernetesObject): Found {
  return fromYaml(map, "excluded_prefixes_input.yaml", (config) => {
    const entry = Object.entries(config).find(([key]) => key.toLowerCase() === "prefixes");
    return listOf(entry?.[1]).map((one) => (typeof one === "string" ? one : JSON.stringify(one)));
  });
}

/** One list without what lies in another of its prefixes, in the order of addresses. */
export function joinPrefixes(all: Iterable<string>): string[] {
  const parsed = [...new Set(all)].flatMap((text) => {
    const prefix = parsePrefix(text);
    if (prefix === undefined) return [];
    const range = rangeOf(prefix);
    return [{ range, length: prefix.length, family: prefix.family, first: range.first }];
  });
  parsed.sort((a, b) => a.family - b.family || a.length - b.length || (a.first < b.first ? -1 : 1));
  const kept: typeof parsed = [];
  for (const one of parsed) {
    if (!kept.some((other) => other.family === one.family && inRange(one.first, other.range))) kept.push(one);
  }
  kept.sort((a, b) => a.family - b.family || (a.first < b.first ? -1 : 1));
  return kept.map(({ family, first, length }) => `${formatAddress({ family, value: first })}/${length}`);
}

function fromYaml(
  map: KubernetesObject,
  key: string,
  read: (config: Readonly<Record<string, unknown>>) => readonly string[],
): Found {
  const text = objectOf(map["data"])[key];
  const where = `ConfigMap ${map.metadata.namespace}/${map.metadata.name}, key ${key}`;
  if (typeof text !== "string") return { prefixes: [], problem: `${where} is missing` };
  try {
    const found = checked(read(objectOf(parse(text, { maxAliasCount: 100, logLevel: "error" }) as unknown)));
    return found.problem === undefined ? found : { ...found, problem: `${where}: ${found.problem}` };
  } catch (error) {
    return { prefixes: [], problem: `${where}: ${(error as Error).message}` };
  }
}

function checked(texts: readonly string[]): Found {
  const wrong = texts.filter((text) => parsePrefix(text) === undefined);
  const prefixes = texts.filter((text) => parsePrefix(text) !== undefined);
  if (wrong.length === 0) return { prefixes };
  return {
    prefixes,
    problem: `no IP prefix: ${wrong
      .slice(0, 5)
      .map((one) => JSON.stringify(one))
      .join(", ")}`,
  };
}

function hostPrefixOf(address: string): string | undefined {
  const prefix = parsePrefix(address);
  return prefix === undefined ? undefined : `${address.split("/")[0]}/${addressBits(prefix.family)}`;
}

function commaList(value: unknown): string[] {
  if (typeof value !== "string") return [];
  return value
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "");
}

function objectOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function textsOf(value: unknown): string[] {
  return listOf(value).filter((one) => typeof one === "string" && one !== "") as string[];
}
