/* SPDX-License-Identifier: Apache-2.0
 * Looking into packets and making short answers. Every function takes hostile bytes of the given length and nothing else. */
#ifndef WEFT_PACKET_H
#define WEFT_PACKET_H

#include <stdbool.h>
#include <stdint.h>

#define ETHERNET_BYTES 14
#define ANSWER_BYTES 1300 /* room that an answer may need */

/* Bytes before the IP header of an Ethernet frame (14, or 18 with one VLAN tag); 0: it carries no IP. */
uint32_t ip_offset(const uint8_t *frame, uint32_t length);
/* RFC 1071: adds up 16-bit words in network order, and makes a checksum of a sum. */
uint32_t internet_sum(const uint8_t *bytes, uint32_t n, uint32_t total);
uint16_t internet_checksum(const uint8_t *bytes, uint32_t n, uint32_t total);
/* 4, 6 or 0. */
int ip_version(const uint8_t *packet, uint32_t length);
/* Writes a DSCP into an IP header, with its checksum. */
void set_dscp(uint8_t *packet, uint32_t length, unsigned dscp);
/* ICMP "fragmentation needed" or ICMPv6 "packet too big" for an IP packet, as an IP packet. 0: none may be sent. */
uint32_t answer_too_big(const uint8_t *packet, uint32_t length, uint32_t mtu, uint8_t *answer);
/* The answer of a neighbour with that hardware address to an ARP request or neighbour solicitation, as a frame. 0: it is neither. */
uint32_t answer_neighbour(const uint8_t *frame, uint32_t length, const uint8_t mac[6], uint8_t *answer);
/* The question for the hardware address of `target`, as a frame of at most 100 bytes: ARP or neighbour solicitation. */
uint32_t question_neighbour(uint32_t family, const uint8_t mac[6], const uint8_t *own, const uint8_t *target, uint8_t *frame);
struct neighbour_message { uint32_t family; bool asks, mac_known; uint8_t sender[16], target[16], mac[6]; };
/* What an ARP or neighbour discovery frame says. False: it is none. */
bool read_neighbour(const uint8_t *frame, uint32_t length, struct neighbour_message *m);
/* Turns an echo request into its reply, in place; frame or packet by `ethernet`. False: it is none. */
bool echo_reply(uint8_t *bytes, uint32_t length, bool ethernet);

#endif
