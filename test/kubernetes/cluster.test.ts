/**
 * What is tried on the real cluster: one cluster for all, because it takes a while to come up.
 * WEFT_JOURNEYS=pods,figures runs these only (Weft is installed for them and removed afterwards); default: all.
 */
import { after, before, describe } from "node:test";
import { clusterJourneys } from "./journeys/cluster.js";
import { dnsJourneys } from "./journeys/dns.js";
import { faultJourneys } from "./journeys/faults.js";
import { figureJourneys } from "./journeys/figures.js";
import { installJourney, uninstallJourney } from "./journeys/install.js";
import { memifJourneys } from "./journeys/memif.js";
import { outageJourneys } from "./journeys/outages.js";
import { podJourneys } from "./journeys/pods.js";
import { type Cluster, noCluster, startCluster } from "./rig/cluster/cluster.js";
import { writeFigures } from "./rig/figures.js";

/** In this order, with Weft installed; names for WEFT_JOURNEYS. */
const journeys: Readonly<Record<string, (cluster: () => Cluster) => void>> = {
  figures: figureJourneys,
  pods: podJourneys,
  dns: dnsJourneys,
  outages: outageJourneys,
  memif: memifJourneys,
  faults: faultJourneys,
};

const skip = noCluster();
let cluster: Cluster | undefined;
/** Only to be called in tests. */
const theCluster = (): Cluster => {
  if (cluster === undefined) throw new Error("the cluster is not up");
  return cluster;
};

const known = ["cluster", ...Object.keys(journeys)];
const chosen = (process.env["WEFT_JOURNEYS"] || known.join()).split(",");
const strangers = chosen.filter((name) => !known.includes(name));
if (strangers.length > 0) throw new Error(`WEFT_JOURNEYS=${strangers.join()}: there are ${known.join(", ")}`);

describe("on a real cluster", { skip }, () => {
  before(async () => {
    cluster = await startCluster();
  });
  after(async () => {
    writeFigures();
    await cluster?.stop();
  });
  if (chosen.includes("cluster")) clusterJourneys(theCluster);
  const installed = Object.entries(journeys).filter(([name]) => chosen.includes(name));
  if (installed.length === 0) return;
  installJourney(theCluster);
  for (const [, journey] of installed) journey(theCluster);
  uninstallJourney(theCluster);
});
