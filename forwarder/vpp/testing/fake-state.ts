/** What the fake VPP remembers, and how it answers: as the real one does where a client could tell the difference. */
import type { Values } from "../codec.js";

export interface FakeInterface {
  readonly index: number;
  readonly name: string;
  readonly type: string;
  tag: string;
  flags: number;
  mtu: readonly number[];
  macAddress: Uint8Array;
  readonly made: Values;
}

export interface FakeState {
  readonly interfaces: Map<number, FakeInterface>;
  /** By receiving interface: the one that sends. */
  readonly crossConnects: Map<number, number>;
  readonly l3: Map<string, Values>;
  readonly sockets: Map<number, string>;
  readonly acls: Map<number, Values>;
  readonly aclLists: Map<number, Values>;
  readonly addresses: Values[];
  readonly peers: Map<number, Values>;
  answer(name: string, values: Values): { readonly name: string; readonly values: Values }[];
}

type Handler = (values: Values, state: Book) => Values | readonly Values[];
interface Book extends Omit<FakeState, "answer"> {
  next: number;
}

const ok: Values = { retval: 0 };
const refused = (retval: number): Values => ({ retval });
const indexOf = (values: Values): number => Number(values["sw_if_index"]);
const any = 0xffffffff;

function makeInterface(state: Book, type: string, name: string, made: Values): Values {
  const index = ++state.next;
  const macAddress = (made["hw_addr"] as Uint8Array | undefined) ?? new Uint8Array(6);
  state.interfaces.set(index, { index, name, type, tag: "", flags: 0, mtu: [9000, 0, 0, 0], macAddress, made });
  return { retval: 0, sw_if_index: index };
}

function dropInterface(state: Book, index: number): Values {
  if (!state.interfaces.delete(index)) return refused(-2);
  state.crossConnects.delete(index);
  for (const [rx, tx] of state.crossConnects) if (tx === index) state.crossConnects.delete(rx);
  for (const family of [0, 1]) state.l3.delete(`${index} ${family}`);
  state.aclLists.delete(index);
  return ok;
}

const onInterface =
  (change: (found: FakeInterface, values: Values) => void): Handler =>
  (values, state) => {
    const found = state.interfaces.get(indexOf(values));
    if (found === undefined) return refused(-2);
    change(found, values);
    return ok;
  };

const interfaceHandlers: Readonly<Record<string, Handler>> = {
  sw_interface_dump: (values, { interfaces }) =>
    [...interfaces.values()]
      .filter(({ index }) => indexOf(values) === any || index === indexOf(values))
      .map((each) => ({
        sw_if_index: each.index,
        interface_name: each.name,
        interface_dev_type: each.type,
        tag: each.tag,
        flags: each.flags,
        mtu: each.mtu,
        l2_address: each.macAddress,
      })),
  sw_interface_set_flags: onInterface((found, { flags }) => {
    found.flags = Number(flags) === 0 ? 0 : 3;
  }),
  sw_interface_set_mtu: onInterface((found, { mtu }) => {
    found.mtu = mtu as readonly number[];
  }),
  sw_interface_set_rx_mode: onInterface(() => {}),
  sw_interface_tag_add_del: onInterface((found, { is_add, tag }) => {
    found.tag = is_add === true ? String(tag) : "";
  }),
  sw_interface_add_del_address: (values, state) => {
    if (!state.interfaces.has(indexOf(values))) return refused(-2);
    state.addresses.push({ sw_if_index: indexOf(values), prefix: values["prefix"] ?? {} });
    return ok;
  },
  sw_interface_ip6_enable_disable: onInterface(() => {}),
  sw_interface_ip6nd_ra_config: onInterface(() => {}),
  want_interface_events: () => ok,
  ip_address_dump: (values, { addresses }) =>
    addresses.filter((each) => {
      const { address } = each["prefix"] as unknown as { address: { af: number } };
      return each["sw_if_index"] === indexOf(values) && (address.af === 1) === values["is_ipv6"];
    }),
  ip_route_add_del: () => ({ retval: 0, stats_index: 1 }),
  ip_neighbor_add_del: () => ({ retval: 0, stats_index: 1 }),
};

const joiningHandlers: Readonly<Record<string, Handler>> = {
  sw_interface_set_l2_xconnect(values, { interfaces, crossConnects }) {
    const [rx, tx] = [Number(values["rx_sw_if_index"]), Number(values["tx_sw_if_index"])];
    if (!interfaces.has(rx)) return refused(-2);
    if (values["enable"] !== true) crossConnects.delete(rx);
    else if (interfaces.has(tx)) crossConnects.set(rx, tx);
    else return refused(-10);
    return ok;
  },
  l2_xconnect_dump: (_, { crossConnects }) => [...crossConnects].map(([rx, tx]) => ({ rx_sw_if_index: rx, tx_sw_if_index: tx })),
  l3xc_update(values, { interfaces, l3 }) {
    const l3xc = values["l3xc"] as Values;
    if (!interfaces.has(indexOf(l3xc))) return refused(-2);
    l3.set(`${indexOf(l3xc)} ${l3xc["is_ip6"] === true ? 1 : 0}`, l3xc);
    return { retval: 0, stats_index: 1 };
  },
  l3xc_del: (values, { l3 }) => (l3.delete(`${indexOf(values)} ${values["is_ip6"] === true ? 1 : 0}`) ? ok : refused(-6)),
  l3xc_dump: (_, { l3 }) => [...l3.values()].map((l3xc) => ({ l3xc })),
};

const portHandlers: Readonly<Record<string, Handler>> = {
  memif_socket_filename_add_del_v2(values, { sockets }) {
    const wanted = Number(values["socket_id"]);
    if (values["is_add"] !== true) return sockets.delete(wanted) ? { retval: 0, socket_id: wanted } : refused(-7);
    const id = wanted === any ? Math.max(0, ...sockets.keys()) + 1 : wanted;
    sockets.set(id, String(values["socket_filename"]));
    return { retval: 0, socket_id: id };
  },
  memif_socket_filename_add_del(values, { sockets }) {
    const id = Number(values["socket_id"]);
    if (values["is_add"] === true) sockets.set(id, String(values["socket_filename"]));
    else sockets.delete(id);
    return ok;
  },
  memif_socket_filename_dump: (_, { sockets }) =>
    [...sockets].map(([id, name]) => ({ socket_id: id, socket_filename: name.slice(0, 107) })),
  memif_create: createMemif,
  memif_create_v2: createMemif,
  memif_delete: (values, state) => dropInterface(state, indexOf(values)),
  memif_dump: (_, { interfaces }) => dumpOf(interfaces, "memif", ({ made }) => ({ socket_id: made["socket_id"] ?? 0 })),
  af_packet_create_v3(values, state) {
    const name = `host-${String(values["host_if_name"])}`;
    if ([...state.interfaces.values()].some((each) => each.name === name)) return refused(-79);
    return makeInterface(state, "af-packet", name, values);
  },
  af_packet_delete(values, state) {
    const found = [...state.interfaces.values()].find(({ name }) => name === `host-${String(values["host_if_name"])}`);
    return found === undefined ? refused(-71) : dropInterface(state, found.index);
  },
  af_packet_dump: (_, { interfaces }) => dumpOf(interfaces, "af-packet", ({ name }) => ({ host_if_name: name.slice(5) })),
};

function createMemif(values: Values, state: Book): Values {
  if (!state.sockets.has(Number(values["socket_id"]))) return refused(-73);
  return makeInterface(state, "memif", `memif${String(values["socket_id"])}/${String(values["id"])}`, values);
}

function dumpOf(interfaces: Book["interfaces"], type: string, more: (each: FakeInterface) => Values): Values[] {
  return [...interfaces.values()]
    .filter((each) => each.type === type)
    .map((each) => ({ sw_if_index: each.index, ...more(each) }));
}

const tunnelHandlers: Readonly<Record<string, Handler>> = {
  add_node_next: () => ({ retval: 0, next_index: 3 }),
  vxlan_add_del_tunnel_v3(values, state) {
    const key = ({ vni, src_port, src_address, dst_address }: Values): string =>
      JSON.stringify([vni, src_port, src_address, dst_address], (_, value: unknown) =>
        value instanceof Uint8Array ? [...value] : value,
      );
    const found = [...state.interfaces.values()].find(({ type, made }) => type === "VXLAN" && key(made) === key(values));
    if (values["is_add"] !== true)
      return found === undefined ? refused(-6) : { ...dropInterface(state, found.index), sw_if_index: any };
    return found === undefined ? makeInterface(state, "VXLAN", `vxlan_tunnel${state.next}`, values) : refused(-75);
  },
  vxlan_tunnel_v2_dump: (_, { interfaces }) =>
    dumpOf(interfaces, "VXLAN", ({ made }) => {
      const { src_address = {}, dst_address = {}, src_port = 0, dst_port = 0, vni = 0, decap_next_index = 0 } = made;
      return { src_address, dst_address, src_port, dst_port, vni, decap_next_index };
    }),
  wireguard_interface_create: (values, state) =>
    makeInterface(state, "Wireguard", `wg${state.next}`, values["interface"] as Values),
  wireguard_interface_delete: (values, state) => dropInterface(state, indexOf(values)),
  wireguard_peer_add(values, state) {
    const index = ++state.next;
    state.peers.set(index, { ...(values["peer"] as Values), peer_index: index });
    return { retval: 0, peer_index: index };
  },
  wireguard_peer_remove: (values, { peers }) => (peers.delete(Number(values["peer_index"])) ? ok : refused(-6)),
  wireguard_peers_dump: (_, { peers }) => [...peers.values()].map((peer) => ({ peer })),
};

const filterHandlers: Readonly<Record<string, Handler>> = {
  acl_add_replace(values, state) {
    const wanted = Number(values["acl_index"]);
    const index = wanted === any ? ++state.next : wanted;
    state.acls.set(index, { ...values, acl_index: index });
    return { retval: 0, acl_index: index };
  },
  acl_del(values, { acls, aclLists }) {
    const index = Number(values["acl_index"]);
    if ([...aclLists.values()].some(({ acls: used }) => (used as readonly number[]).includes(index))) return refused(-142);
    return acls.delete(index) ? ok : refused(-6);
  },
  acl_dump: (values, { acls }) =>
    [...acls.values()]
      .filter(({ acl_index }) => values["acl_index"] === any || values["acl_index"] === acl_index)
      .map(({ acl_index = 0, tag = "", count = 0, r = [] }) => ({ acl_index, tag, count, r })),
  acl_interface_set_acl_list(values, { aclLists }) {
    const { count = 0, n_input = 0, acls = [] } = values;
    aclLists.set(indexOf(values), { sw_if_index: indexOf(values), count, n_input, acls });
    return ok;
  },
  acl_interface_list_dump: (values, { aclLists }) =>
    [...aclLists.values()].filter((each) => indexOf(values) === any || indexOf(each) === indexOf(values)),
};

export function createFakeState(about: { readonly version: string; readonly pid: number }): FakeState {
  const local: FakeInterface = {
    index: 0,
    name: "local0",
    type: "local",
    tag: "",
    flags: 0,
    mtu: [0, 0, 0, 0],
    macAddress: new Uint8Array(6),
    made: {},
  };
  const state: Book = {
    next: 0,
    interfaces: new Map([[0, local]]),
    crossConnects: new Map(),
    l3: new Map(),
    sockets: new Map([[0, "/run/vpp/memif.sock"]]),
    acls: new Map(),
    aclLists: new Map(),
    addresses: [],
    peers: new Map(),
  };
  const handlers: Readonly<Record<string, Handler>> = {
    control_ping: () => ({ retval: 0, client_index: 77, vpe_pid: about.pid }),
    show_version: () => ({ retval: 0, program: "vpe", version: about.version, build_date: "", build_directory: "" }),
    ...interfaceHandlers,
    ...joiningHandlers,
    ...portHandlers,
    ...tunnelHandlers,
    ...filterHandlers,
  };
  return {
    ...state,
    answer(name, values) {
      const handler = Object.hasOwn(handlers, name) ? handlers[name] : undefined;
      if (handler === undefined) return [];
      const result = handler(values, state);
      if (!Array.isArray(result)) return [{ name: `${name}_reply`, values: result as Values }];
      return result.map((each: Values) => ({ name: name.replace(/_dump$/, "_details"), values: each }));
    },
  };
}
