/** A process of its own that serves the DNS of a pod, to be killed: arguments are namespace URL, path of resolv.conf, sources as JSON. */
import { silentLog } from "../../../sdk/telemetry/log.js";
import { servePodDns } from "../pod-dns.js";
import { readResolvConf } from "../resolv-conf.js";

const [netnsUrl = "", path = "", sources = "[]"] = process.argv.slice(2);
const dns = servePodDns({ netnsUrl, resolvConf: () => readResolvConf(path, false), log: silentLog });
dns.set(JSON.parse(sources));
const timer = setInterval(() => {
  if (!dns.active()) return;
  clearInterval(timer);
  process.stdout.write("ready\n");
}, 10);
