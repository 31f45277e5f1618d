# A name that nobody has is free; one that somebody has is for its first identity only.
package nsm.client_allowed

default valid := false

valid if not taken

valid if input.resource_path_ids_map[input.resource_name][0] == input.resource_id

taken if input.resource_path_ids_map[input.resource_name]
