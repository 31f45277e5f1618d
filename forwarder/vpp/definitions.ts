/**
 * The messages of VPP's binary API that this project uses, as wire layouts: for a VPP without its .api.json files at hand.
 * Where the running VPP's own files are found they come first (api-files.ts), and a test compares the two.
 *
 * One line for each message: name, crc, fields without the message id. `name:type`, `name:type[count]`, `name:type[field]`
 * (as many as an earlier field says), `string[64]` (padded) and `string` (length before it). Enums are the number they are sent
 * as, unions bytes. A released message never changes its crc (docs/vpp.md), so a line holds for every version that offers it.
 */
import type { Definitions, Field, Message } from "./codec.js";

const requests = `
sockclnt_create 455fb9c4 context:u32 name:string[64]
sockclnt_create_reply 35166268 client_index:u32 context:u32 response:i32 index:u32 count:u16 message_table:message_table_entry[count]
control_ping 51077d14 client_index:u32 context:u32
control_ping_reply f6b0b8ca context:u32 retval:i32 client_index:u32 vpe_pid:u32
show_version 51077d14 client_index:u32 context:u32
show_version_reply c919bde1 context:u32 retval:i32 program:string[32] version:string[32] build_date:string[32] build_directory:string[256]
cli_inband f8377302 client_index:u32 context:u32 cmd:string
cli_inband_reply 05879051 context:u32 retval:i32 reply:string
`;

const interfaces = `
sw_interface_dump aa610c27 client_index:u32 context:u32 sw_if_index:u32 name_filter_valid:bool name_filter:string
sw_interface_details 6c221fc7 context:u32 sw_if_index:u32 sup_sw_if_index:u32 l2_address:u8[6] flags:u32 type:u32 link_duplex:u32 link_speed:u32 link_mtu:u16 mtu:u32[4] sub_id:u32 sub_number_of_tags:u8 sub_outer_vlan_id:u16 sub_inner_vlan_id:u16 sub_if_flags:u32 vtr_op:u32 vtr_push_dot1q:u32 vtr_tag1:u32 vtr_tag2:u32 outer_tag:u16 b_dmac:u8[6] b_smac:u8[6] b_vlanid:u16 i_sid:u32 interface_name:string[64] interface_dev_type:string[64] tag:string[64]
sw_interface_set_flags f5aec1b8 client_index:u32 context:u32 sw_if_index:u32 flags:u32
sw_interface_set_flags_reply e8d4e804 context:u32 retval:i32
sw_interface_set_mtu 5cbe85e5 client_index:u32 context:u32 sw_if_index:u32 mtu:u32[4]
sw_interface_set_mtu_reply e8d4e804 context:u32 retval:i32
sw_interface_set_rx_mode b04d1cfe client_index:u32 context:u32 sw_if_index:u32 queue_id_valid:bool queue_id:u32 mode:u32
sw_interface_set_rx_mode_reply e8d4e804 context:u32 retval:i32
sw_interface_add_del_address 5463d73b client_index:u32 context:u32 sw_if_index:u32 is_add:bool del_all:bool prefix:prefix
sw_interface_add_del_address_reply e8d4e804 context:u32 retval:i32
sw_interface_tag_add_del 426f8bc1 client_index:u32 context:u32 is_add:bool sw_if_index:u32 tag:string[64]
sw_interface_tag_add_del_reply e8d4e804 context:u32 retval:i32
want_interface_events 476f5a08 client_index:u32 context:u32 enable_disable:u32 pid:u32
want_interface_events_reply e8d4e804 context:u32 retval:i32
sw_interface_event 2d3d95a7 client_index:u32 pid:u32 sw_if_index:u32 flags:u32 deleted:bool
`;

const routing = `
ip_address_dump 2d033de4 client_index:u32 context:u32 sw_if_index:u32 is_ipv6:bool
ip_address_details ee29b797 context:u32 sw_if_index:u32 prefix:prefix
ip_route_add_del b8ecfe0d client_index:u32 context:u32 is_add:bool is_multipath:bool route:ip_route
ip_route_add_del_reply 1992deab context:u32 retval:i32 stats_index:u32
ip_neighbor_add_del 0607c257 client_index:u32 context:u32 is_add:bool neighbor:ip_neighbor
ip_neighbor_add_del_reply 1992deab context:u32 retval:i32 stats_index:u32
sw_interface_ip6_enable_disable ae6cfcfb client_index:u32 context:u32 sw_if_index:u32 enable:bool
sw_interface_ip6_enable_disable_reply e8d4e804 context:u32 retval:i32
sw_interface_ip6nd_ra_config 3eb00b1c client_index:u32 context:u32 sw_if_index:u32 suppress:u8 managed:u8 other:u8 ll_option:u8 send_unicast:u8 cease:u8 is_no:bool default_router:u8 max_interval:u32 min_interval:u32 lifetime:u32 initial_count:u32 initial_interval:u32
sw_interface_ip6nd_ra_config_reply e8d4e804 context:u32 retval:i32
sw_interface_set_l2_xconnect 4fa28a85 client_index:u32 context:u32 rx_sw_if_index:u32 tx_sw_if_index:u32 enable:bool
sw_interface_set_l2_xconnect_reply e8d4e804 context:u32 retval:i32
l2_xconnect_dump 51077d14 client_index:u32 context:u32
l2_xconnect_details 472b6b67 context:u32 rx_sw_if_index:u32 tx_sw_if_index:u32
l3xc_update e96aabdf client_index:u32 context:u32 l3xc:l3xc
l3xc_update_reply 1992deab context:u32 retval:i32 stats_index:u32
l3xc_del e7dbef91 client_index:u32 context:u32 sw_if_index:u32 is_ip6:bool
l3xc_del_reply e8d4e804 context:u32 retval:i32
l3xc_dump f9e6675e client_index:u32 context:u32 sw_if_index:u32
l3xc_details bc5bf852 context:u32 l3xc:l3xc
`;

const ports = `
memif_socket_filename_add_del a2ce1a10 client_index:u32 context:u32 is_add:bool socket_id:u32 socket_filename:string[108]
memif_socket_filename_add_del_reply e8d4e804 context:u32 retval:i32
memif_socket_filename_add_del_v2 34223bdf client_index:u32 context:u32 is_add:bool socket_id:u32 socket_filename:string
memif_socket_filename_add_del_v2_reply 9f29bdb9 context:u32 retval:i32 socket_id:u32
memif_create b1b25061 client_index:u32 context:u32 role:u32 mode:u32 rx_queues:u8 tx_queues:u8 id:u32 socket_id:u32 ring_size:u32 buffer_size:u16 no_zero_copy:bool hw_addr:u8[6] secret:string[24]
memif_create_reply 5383d31f context:u32 retval:i32 sw_if_index:u32
memif_create_v2 8c7de5f7 client_index:u32 context:u32 role:u32 mode:u32 rx_queues:u8 tx_queues:u8 id:u32 socket_id:u32 ring_size:u32 buffer_size:u16 no_zero_copy:bool use_dma:bool hw_addr:u8[6] secret:string[24]
memif_create_v2_reply 5383d31f context:u32 retval:i32 sw_if_index:u32
memif_delete f9e6675e client_index:u32 context:u32 sw_if_index:u32
memif_delete_reply e8d4e804 context:u32 retval:i32
memif_dump 51077d14 client_index:u32 context:u32
memif_details da34feb9 context:u32 sw_if_index:u32 hw_addr:u8[6] id:u32 role:u32 mode:u32 zero_copy:bool socket_id:u32 ring_size:u32 buffer_size:u16 flags:u32 if_name:string[64]
memif_socket_filename_dump 51077d14 client_index:u32 context:u32
memif_socket_filename_details 7ff326f7 context:u32 socket_id:u32 socket_filename:string[108]
af_packet_create_v3 b3a809d4 client_index:u32 context:u32 mode:u32 hw_addr:u8[6] use_random_hw_addr:bool host_if_name:string[64] rx_frame_size:u32 tx_frame_size:u32 rx_frames_per_block:u32 tx_frames_per_block:u32 flags:u32 num_rx_queues:u16 num_tx_queues:u16
af_packet_create_v3_reply 5383d31f context:u32 retval:i32 sw_if_index:u32
af_packet_delete 863fa648 client_index:u32 context:u32 host_if_name:string[64]
af_packet_delete_reply e8d4e804 context:u32 retval:i32
af_packet_dump 51077d14 client_index:u32 context:u32
af_packet_details 58c7c042 context:u32 sw_if_index:u32 host_if_name:string[64]
`;

const tunnels = `
add_node_next 2457116d client_index:u32 context:u32 node_name:string[64] next_name:string[64]
add_node_next_reply 2ed75f32 context:u32 retval:i32 next_index:u32
vxlan_add_del_tunnel_v3 0072b037 client_index:u32 context:u32 is_add:bool instance:u32 src_address:address dst_address:address src_port:u16 dst_port:u16 mcast_sw_if_index:u32 encap_vrf_id:u32 decap_next_index:u32 vni:u32 is_l3:bool
vxlan_add_del_tunnel_v3_reply 5383d31f context:u32 retval:i32 sw_if_index:u32
vxlan_tunnel_v2_dump f9e6675e client_index:u32 context:u32 sw_if_index:u32
vxlan_tunnel_v2_details d3bdd4d9 context:u32 sw_if_index:u32 instance:u32 src_address:address dst_address:address src_port:u16 dst_port:u16 mcast_sw_if_index:u32 encap_vrf_id:u32 decap_next_index:u32 vni:u32
wireguard_interface_create a530137e client_index:u32 context:u32 interface:wireguard_interface generate_key:bool
wireguard_interface_create_reply 5383d31f context:u32 retval:i32 sw_if_index:u32
wireguard_interface_delete f9e6675e client_index:u32 context:u32 sw_if_index:u32
wireguard_interface_delete_reply e8d4e804 context:u32 retval:i32
wireguard_peer_add 9b8aad61 client_index:u32 context:u32 peer:wireguard_peer
wireguard_peer_add_reply 084a0cd3 context:u32 retval:i32 peer_index:u32
wireguard_peer_remove 3b74607a client_index:u32 context:u32 peer_index:u32
wireguard_peer_remove_reply e8d4e804 context:u32 retval:i32
wireguard_peers_dump 3b74607a client_index:u32 context:u32 peer_index:u32
wireguard_peers_details 6a9f6bc3 context:u32 peer:wireguard_peer
`;

const filters = `
acl_add_replace ee5c2f18 client_index:u32 context:u32 acl_index:u32 tag:string[64] count:u32 r:acl_rule[count]
acl_add_replace_reply ac407b0c context:u32 acl_index:u32 retval:i32
acl_del ef34fea4 client_index:u32 context:u32 acl_index:u32
acl_del_reply e8d4e804 context:u32 retval:i32
acl_dump ef34fea4 client_index:u32 context:u32 acl_index:u32
acl_details 95babae0 context:u32 acl_index:u32 tag:string[64] count:u32 r:acl_rule[count]
acl_interface_list_dump f9e6675e client_index:u32 context:u32 sw_if_index:u32
acl_interface_list_details e695d256 context:u32 sw_if_index:u32 count:u8 n_input:u8 acls:u32[count]
acl_interface_set_acl_list 473982bd client_index:u32 context:u32 sw_if_index:u32 count:u8 n_input:u8 acls:u32[count]
acl_interface_set_acl_list_reply e8d4e804 context:u32 retval:i32
`;

const parts = `
message_table_entry index:u16 name:string[64]
address af:u8 un:u8[16]
prefix address:address len:u8
ip_route table_id:u32 stats_index:u32 prefix:prefix n_paths:u8 paths:fib_path[n_paths]
ip_neighbor sw_if_index:u32 flags:u8 mac_address:u8[6] ip_address:address
l3xc sw_if_index:u32 is_ip6:bool n_paths:u8 paths:fib_path[n_paths]
fib_path sw_if_index:u32 table_id:u32 rpf_id:u32 weight:u8 preference:u8 type:u32 flags:u32 proto:u32 nh:fib_path_nh n_labels:u8 label_stack:fib_mpls_label[16]
fib_path_nh address:u8[16] via_label:u32 obj_id:u32 classify_table_index:u32
fib_mpls_label is_uniform:u8 label:u32 ttl:u8 exp:u8
wireguard_interface user_instance:u32 sw_if_index:u32 private_key:u8[32] public_key:u8[32] port:u16 src_ip:address
wireguard_peer peer_index:u32 public_key:u8[32] port:u16 persistent_keepalive:u16 table_id:u32 endpoint:address sw_if_index:u32 flags:u8 n_allowed_ips:u8 allowed_ips:prefix[n_allowed_ips]
acl_rule is_permit:u8 src_prefix:prefix dst_prefix:prefix proto:u8 srcport_or_icmptype_first:u16 srcport_or_icmptype_last:u16 dstport_or_icmpcode_first:u16 dstport_or_icmpcode_last:u16 tcp_flags_mask:u8 tcp_flags_value:u8
`;

/** What this project knows of itself. */
export const builtIn: Definitions = {
  types: new Map(lines(parts).map(([name, ...fields]): [string, readonly Field[]] => [name ?? "", fields.map(parseField)])),
  messages: new Map(
    [requests, interfaces, routing, ports, tunnels, filters].flatMap(lines).map(([name = "", crc = "", ...fields]) => {
      const message: Message = { name, crc, fields: fields.map(parseField) };
      return [`${name}_${crc}`, message];
    }),
  ),
};

function lines(text: string): string[][] {
  return text
    .trim()
    .split("\n")
    .map((line) => line.split(" "));
}

function parseField(text: string): Field {
  const found = /^(\w+):(\w+)(?:\[(\w+)\])?$/.exec(text);
  const [, name, type, length] = found ?? [];
  if (name === undefined || type === undefined) throw new Error(`field ${JSON.stringify(text)} is not name:type[length]`);
  return { name, type, length: length === undefined ? undefined : /^\d+$/.test(length) ? Number(length) : length };
}
