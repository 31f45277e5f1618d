/** The wire contract: our encoding equals the deterministic Go encoding, byte for byte. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ConnectionEvent, ConnectionEventType, State } from "./gen/connection.js";
import { IpFamily_Family } from "./gen/connectioncontext.js";
import { NetworkServiceRequest } from "./gen/networkservice.js";
import { NetworkServiceEndpointResponse, NetworkServiceResponse } from "./gen/registry.js";

const vectors: { name: string; codec: Codec; message: unknown; hex: string }[] = [
  {
    name: "NetworkServiceRequest",
    codec: NetworkServiceRequest,
    message: NetworkServiceRequest.fromPartial({
      connection: {
        id: "i",
        network_service: "s",
        mechanism: { cls: "LOCAL", type: "KERNEL", parameters: { k: "v" } },
        context: {
          ip_context: {
            src_ip_addrs: ["1.1.1.1/32"],
            src_routes: [{ prefix: "2.2.2.2/32", nextHop: "3.3.3.3" }],
            extra_prefix_request: [
              { addr_family: { family: IpFamily_Family.IPV6 }, prefix_len: 64, required_number: 1, requested_number: 2 },
            ],
            policies: [{ from: "f", proto: "6", dst_port: "1-2", src_port: "3", routes: [{ prefix: "9.9.9.0/24" }] }],
          },
          dns_context: { configs: [{ dns_server_ips: ["8.8.8.8"], search_domains: ["d"] }] },
          ethernet_context: { src_mac: "m", vlan_tag: -1 },
          extra_context: { a: "b" },
          MTU: 1450,
        },
        labels: { l: "1" },
        path: {
          index: 1,
          path_segments: [{ name: "x", id: "y", token: "t", expires: { seconds: 1700000000 } }, { name: "z" }],
        },
        network_service_endpoint_name: "e",
        payload: "IP",
        state: State.RESELECT_REQUESTED,
      },
      mechanism_preferences: [{ cls: "LOCAL", type: "KERNEL", parameters: { inodeURL: "file:///x" } }],
    }),
    hex: "0ac8010a01691201731a170a054c4f43414c12064b45524e454c1a060a016b120176227a0a4d0a0a312e312e312e312f33322a150a0a322e322e322e322f33321207332e332e332e334a0a0a0208011040180120025a1c0a01661201361a03312d322201332a0c0a0a392e392e392e302f3234120e0a0c0a07382e382e382e381201641a0e0a016d18ffffffffffffffffff0122060a016112016228aa0b2a060a016c120131321a080112110a01781201791a017422060880e2cfaa0612030a017a3a016542024950480312260a054c4f43414c12064b45524e454c1a150a08696e6f646555524c120966696c653a2f2f2f78",
  },
  {
    name: "ConnectionEvent",
    codec: ConnectionEvent,
    message: ConnectionEvent.fromPartial({ type: ConnectionEventType.DELETE, connections: { i: { id: "i" } } }),
    hex: "080212080a016912030a0169",
  },
  {
    name: "NetworkServiceEndpointResponse",
    codec: NetworkServiceEndpointResponse,
    message: NetworkServiceEndpointResponse.fromPartial({
      network_service_endpoint: {
        name: "n",
        network_service_names: ["a"],
        network_service_labels: { a: { labels: { k: "v" } } },
        url: "tcp://1.2.3.4:5001",
        expiration_time: { seconds: 1700000000, nanos: 5 },
        path_ids: ["x"],
      },
      deleted: true,
    }),
    hex: "0a360a016e1201611a0d0a016112080a060a016b12017622127463703a2f2f312e322e332e343a353030312a080880e2cfaa0610053a01781001",
  },
  {
    name: "NetworkServiceResponse",
    codec: NetworkServiceResponse,
    message: NetworkServiceResponse.fromPartial({
      network_service: {
        name: "s",
        payload: "IP",
        matches: [
          {
            source_selector: { a: "b" },
            routes: [{ destination_selector: { c: "{{.d}}" }, weight: 3 }],
            fallthrough: true,
            metadata: { labels: { p: "q" } },
          },
        ],
      },
    }),
    hex: "0a2e0a0173120249501a250a060a0161120162120f0a0b0a016312067b7b2e647d7d1003180122080a060a0170120171",
  },
];

for (const { name, codec, message, hex } of vectors) {
  test(`${name} encodes to the golden bytes and back`, () => {
    assert.equal(Buffer.from(codec.encode(message).finish()).toString("hex"), hex);
    assert.equal(Buffer.from(codec.encode(codec.decode(Buffer.from(hex, "hex"))).finish()).toString("hex"), hex);
  });
}

test("fields that we do not know are passed on", () => {
  const withUnknown = `${vectors[1]?.hex}f2060568656c6c6f`;
  const decoded = ConnectionEvent.decode(Buffer.from(withUnknown, "hex"));
  assert.equal(Buffer.from(ConnectionEvent.encode(decoded).finish()).toString("hex"), withUnknown);
});

interface Codec {
  encode(message: unknown): { finish(): Uint8Array };
  decode(bytes: Uint8Array): unknown;
}
