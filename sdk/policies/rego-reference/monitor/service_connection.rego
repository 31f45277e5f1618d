# Who monitors names connections, and at least one of them is their own.
package nsm.service_connection

default valid := false

valid if {
	some id in input.selector_connection_ids
	id in input.spiffe_id_connection_map[input.service_spiffe_id]
}
